{# SPDX-License-Identifier: Apache-2.0 #}
{# What each session tag is when nobody set it. Not every adapter has a user (DuckDB, Databricks). #}
{% macro _tag_fallbacks() %}
    {%- do return({
        'run_id': invocation_id,
        'actor_id': target.user or 'unknown',
        'tenant_id': 'default'
    }) -%}
{% endmacro %}
