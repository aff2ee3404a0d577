{# SPDX-License-Identifier: Apache-2.0 #}
{# Print what each text becomes when our tags are merged into it, once and twice. #}
{% macro print_merged_query_tags(texts) %}
    {%- set tags = {'run_id': 'r-1', 'actor_id': 'ana', 'tenant_id': 'north'} -%}
    {%- for text in texts -%}
        {%- set once = clyra_guard._merge_query_tag(text, tags) -%}
        {%- do print('merged:' ~ tojson([once, clyra_guard._merge_query_tag(once, tags)])) -%}
    {%- endfor -%}
{% endmacro %}
