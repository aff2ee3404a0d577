{# SPDX-License-Identifier: Apache-2.0 #}
{#
  True while dbt renders something in order to run it.

  `dbt compile` and `dbt docs generate` render on-run hooks too, with `execute` true, although nothing will run:
  whatever raises or queries there would break both commands. A command not named here counts as running, so that
  one we do not know is tagged and judged.
#}
{% macro _is_running() %}
    {%- do return(execute and flags.WHICH not in ['compile', 'generate', 'show', 'list', 'parse']) -%}
{% endmacro %}
