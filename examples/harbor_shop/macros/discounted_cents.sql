{# SPDX-License-Identifier: Apache-2.0 #}
{# Whole cents after a discount, half a cent rounded up. #}
{% macro discounted_cents(cents, percent) %}
    cast(floor((({{ cents }}) * (100 - {{ percent }}) + 50) * 0.01) as integer)
{%- endmacro %}
