{# SPDX-License-Identifier: Apache-2.0 #}
{# SQL that reads a session tag back from the warehouse. #}
{% macro session_tag(name) %}
    {%- if target.type == 'postgres' -%}
        current_setting('clyra.{{ name }}', true)
    {%- elif target.type == 'duckdb' -%}
        getvariable('clyra_{{ name }}')
    {%- else -%}
        cast(null as text)
    {%- endif -%}
{% endmacro %}
