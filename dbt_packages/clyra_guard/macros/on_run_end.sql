{# SPDX-License-Identifier: Apache-2.0 #}
{#
  Declared by this package as its on-run-end hook. Logs one line: the tags of the run, the number of results by
  status, and a digest over them. Sends no SQL.

  The digest is the MD5 (dbt's Jinja has no other) of the sorted lines `["<unique_id>","<status>",<rows affected>]`
  joined by newlines. It lets two logs be compared; it is no evidence against somebody who forges one.
#}
{% macro on_run_end(results) %}{{ return(adapter.dispatch('on_run_end', 'clyra_guard')(results)) }}{% endmacro %}

{% macro default__on_run_end(results) %}
    {%- if clyra_guard._is_running() -%}
        {%- set lines = [] -%}
        {%- set statuses = {} -%}
        {#- Old versions of dbt put a failed hook among the results, as one without a node. -#}
        {%- for result in results if result.node is defined -%}
            {%- set status = result.status | string -%}
            {%- do lines.append(tojson([
                result.node.unique_id, status, (result.adapter_response or {}).get('rows_affected')
            ])) -%}
            {%- do statuses.update({status: statuses.get(status, 0) + 1}) -%}
        {%- endfor -%}
        {%- set tags = clyra_guard._session_tags() -%}
        {%- do log('clyra_guard: ' ~ tojson({
            'command': flags.WHICH,
            'run_id': tags.run_id,
            'invocation_id': invocation_id,
            'actor_id': tags.actor_id,
            'tenant_id': tags.tenant_id,
            'results': lines | length,
            'statuses': statuses,
            'digest': 'md5:' ~ local_md5(lines | sort | join('\n'))
        }), info=true) -%}
    {%- endif -%}
{% endmacro %}
