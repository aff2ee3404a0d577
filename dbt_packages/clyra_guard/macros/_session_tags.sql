{# SPDX-License-Identifier: Apache-2.0 #}
{#
  The checked tags of this run: a mapping of run_id, actor_id and tenant_id. Raises a compiler error when one of
  them is not a tag. Any session can set them, so they are claims: none is, or leads to, a credential.
#}
{% macro _session_tags() %}
    {%- set tags = {} -%}
    {%- for name, fallback in clyra_guard._tag_fallbacks().items() -%}
        {%- set value = clyra_guard._read_tag(name, fallback) -%}
        {%- if not clyra_guard._is_tag(value) -%}{%- do clyra_guard._refuse_tag(name, value) -%}{%- endif -%}
        {%- do tags.update({name: value}) -%}
    {%- endfor -%}
    {%- do return(tags) -%}
{% endmacro %}
