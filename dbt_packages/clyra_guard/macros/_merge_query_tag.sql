{# SPDX-License-Identifier: Apache-2.0 #}
{#
  Snowflake's QUERY_TAG with our tags beside what was there: a JSON object keeps its members, any other text moves
  to the member `query_tag`. Merging twice changes nothing. Raises a compiler error above Snowflake's 2,000
  characters, since cutting would lose either their tag or ours.
#}
{% macro _merge_query_tag(existing, tags) %}
    {%- set found = fromjson(existing or '{}', none) -%}
    {%- set merged = found if found is mapping else {'query_tag': existing} -%}
    {%- do merged.update({'clyra': {'run': tags.run_id, 'actor': tags.actor_id, 'tenant': tags.tenant_id}}) -%}
    {%- set text = tojson(merged) -%}
    {%- if text | length > 2000 -%}
        {%- do exceptions.raise_compiler_error(
            'clyra_guard: query_tag refused: found ' ~ existing | length ~ ' characters, '
            ~ text | length ~ ' with the session tags, expected at most 2000; shorten query_tag'
        ) -%}
    {%- endif -%}
    {%- do return(text) -%}
{% endmacro %}
