{# SPDX-License-Identifier: Apache-2.0 #}
{# Keep what the connection of the on-run-start hooks was tagged with, where a test can read it. #}
{% macro record_hook_session() %}
    {%- if execute and flags.WHICH in ['run', 'build'] -%}
        {%- do adapter.create_schema(api.Relation.create(database=target.database, schema=target.schema)) -%}
        create table if not exists {{ target.schema }}.hook_sessions (invocation_id text, run_id text);
        insert into {{ target.schema }}.hook_sessions values ('{{ invocation_id }}', {{ session_tag('run_id') }});
    {%- endif -%}
{% endmacro %}
