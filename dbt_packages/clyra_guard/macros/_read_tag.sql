{# SPDX-License-Identifier: Apache-2.0 #}
{#
  The text of one session tag, unchecked: `CLYRA_<NAME>` in the environment, else the var `clyra_<name>`, else
  the fallback. An empty value counts as absent, because CI systems export variables they have no value for.

  Only call it while something executes: what `env_var()` reads at parse time becomes part of dbt's partial
  parsing state, and a run id that changes would then have every file parsed again.
#}
{% macro _read_tag(name, fallback) %}
    {%- do return((env_var('CLYRA_' ~ name | upper, '') or var('clyra_' ~ name, '') or fallback) | string) -%}
{% endmacro %}
