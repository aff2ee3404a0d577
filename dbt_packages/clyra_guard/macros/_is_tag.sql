{# SPDX-License-Identifier: Apache-2.0 #}
{#
  True if a value may be a session tag: 1 to 128 of A-Z a-z 0-9 _ . @ : -

  The set holds no quote, space, slash, semicolon or backslash, so that a tag can stand in any of the SQL texts of
  this package as it is.
#}
{% macro _is_tag(value) %}
    {%- do return(modules.re.fullmatch('[A-Za-z0-9_.@:-]{1,128}', value) is not none) -%}
{% endmacro %}
