{# SPDX-License-Identifier: Apache-2.0 #}
{% macro print_tag_judgements(values) %}
    {%- for value in values -%}{%- do print('judged:' ~ tojson([value, clyra_guard._is_tag(value)])) -%}{%- endfor -%}
{% endmacro %}
