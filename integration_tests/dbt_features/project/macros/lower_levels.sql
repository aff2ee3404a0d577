-- SPDX-License-Identifier: Apache-2.0
{% macro lower_levels(centimetres) %}
    {% call statement('lower', auto_begin=true) %}
        update {{ ref('highest') }} set centimetres = centimetres - {{ centimetres }}
    {% endcall %}
    {% do run_query('commit') %}
    {% set rows = run_query('select count(*) from ' ~ ref('highest')) %}
    {{ log(rows.columns[0].values()[0] ~ ' levels lowered', info=true) }}
{% endmacro %}
