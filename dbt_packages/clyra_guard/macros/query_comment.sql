{# SPDX-License-Identifier: Apache-2.0 #}
{#
  The comment every statement carries: a JSON object of clyra_run, invocation, actor, tenant and node (null on
  connections without a node). For `query-comment: "{{ clyra_guard.query_comment(node) }}"` in the root project.

  dbt renders it in a context without `adapter` and `exceptions`, for commands that run nothing too. So it can
  neither dispatch nor refuse: a value which is no tag is null here, and `on_run_start` and `set_session` refuse it.
#}
{% macro query_comment(node) %}
    {%- set tags = {} -%}
    {%- for name, fallback in clyra_guard._tag_fallbacks().items() -%}
        {%- set value = clyra_guard._read_tag(name, fallback) -%}
        {%- do tags.update({name: value if clyra_guard._is_tag(value) else none}) -%}
    {%- endfor -%}
    {%- do return(tojson({
        'clyra_run': tags.run_id,
        'invocation': invocation_id,
        'actor': tags.actor_id,
        'tenant': tags.tenant_id,
        'node': (node.unique_id or none) if node else none
    })) -%}
{% endmacro %}
