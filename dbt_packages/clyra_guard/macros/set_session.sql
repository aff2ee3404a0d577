{# SPDX-License-Identifier: Apache-2.0 #}
{#
  SQL that tags the session of this connection with run_id, actor_id and tenant_id: for `+pre-hook`, because each
  of dbt's threads has a connection of its own. Empty on adapters without such settings.
#}
{% macro set_session() %}{{ return(adapter.dispatch('set_session', 'clyra_guard')()) }}{% endmacro %}

{% macro default__set_session() %}{% endmacro %}

{#
  `false`: the setting outlives the transaction, so that statements dbt sends after its commit are tagged too.
  Postgres cuts application_name at 63 bytes with a NOTICE; cutting here saves the notice.
#}
{% macro postgres__set_session() %}
    {%- if clyra_guard._is_running() -%}
        {%- set tags = clyra_guard._session_tags() -%}
        select
            set_config('clyra.run_id', '{{ tags.run_id }}', false),
            set_config('clyra.actor_id', '{{ tags.actor_id }}', false),
            set_config('clyra.tenant_id', '{{ tags.tenant_id }}', false),
            set_config('application_name', '{{ ('clyra:' ~ tags.run_id)[:63] }}', false)
    {%- endif -%}
{% endmacro %}

{% macro duckdb__set_session() %}
    {%- if clyra_guard._is_running() -%}
        {%- for name, value in clyra_guard._session_tags().items() %}
        set variable clyra_{{ name }} = '{{ value }}';
        {%- endfor %}
    {%- endif -%}
{% endmacro %}

{# dbt sets a model's own query_tag before its pre-hooks and restores the session's after it: keep what is there. #}
{% macro snowflake__set_session() %}
    {%- if clyra_guard._is_running() -%}
        {%- set rows = run_query("show parameters like 'query_tag' in session").rows -%}
        {%- set tag = clyra_guard._merge_query_tag(rows[0]['value'] if rows else '', clyra_guard._session_tags()) -%}
        alter session set query_tag = '{{ tag | replace('\\', '\\\\') | replace("'", "''") }}'
    {%- endif -%}
{% endmacro %}

{#
  One `set` is one statement and a hook is one statement, so all but the last are sent here. Backquotes keep Spark
  from reading `--` in a value as a comment.
#}
{% macro databricks__set_session() %}
    {%- if clyra_guard._is_running() -%}
        {%- set tags = clyra_guard._session_tags() -%}
        {%- do run_query('set `clyra.actor_id` = `' ~ tags.actor_id ~ '`') -%}
        {%- do run_query('set `clyra.tenant_id` = `' ~ tags.tenant_id ~ '`') -%}
        set `clyra.run_id` = `{{ tags.run_id }}`
    {%- endif -%}
{% endmacro %}
