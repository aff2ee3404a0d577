{# SPDX-License-Identifier: Apache-2.0 #}
{# An amount of money with two decimals, out of whole cents. Exact on every warehouse: no floating point. #}
{% macro cents_to_amount(cents) %}cast(({{ cents }}) * 0.01 as numeric(14, 2)){% endmacro %}
