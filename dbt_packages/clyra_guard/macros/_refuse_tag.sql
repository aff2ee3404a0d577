{# SPDX-License-Identifier: Apache-2.0 #}
{#
  Stop with a compiler error that says what kind of value was found, and never the value: somebody may have put a
  secret into the wrong variable.
#}
{% macro _refuse_tag(name, value) %}
    {%- set kinds = [] -%}
    {%- for kind, pattern in [
        ('white space', '\\s'), ('quotes', '[\'"`]'), ('characters outside ASCII', '[^\\x00-\\x7f]'),
        ('other punctuation or control characters', '[^A-Za-z0-9_.@:\\s\'"`\\x80-\\U0010ffff-]')
    ] -%}
        {%- if modules.re.search(pattern, value) -%}{%- do kinds.append(kind) -%}{%- endif -%}
    {%- endfor -%}
    {%- do exceptions.raise_compiler_error(
        'clyra_guard: ' ~ name ~ ' refused: found ' ~ value | length ~ ' characters'
        ~ (' with ' ~ kinds | join(', ') if kinds else '')
        ~ ', expected 1 to 128 of A-Z a-z 0-9 _ . @ : -; set CLYRA_' ~ name | upper
        ~ ' or the var clyra_' ~ name
    ) -%}
{% endmacro %}
