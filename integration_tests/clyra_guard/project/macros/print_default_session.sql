{# SPDX-License-Identifier: Apache-2.0 #}
{% macro print_default_session() %}
    {%- do print('default:[' ~ clyra_guard.default__set_session() ~ ']') -%}
{% endmacro %}
