{# SPDX-License-Identifier: Apache-2.0 #}
{#
  Declared by this package as its on-run-start hook. Refuses wrong tags before the first node; sends no SQL, because
  dbt runs the hooks of packages after the project's own and closes their connection before the first node.
#}
{% macro on_run_start() %}{{ return(adapter.dispatch('on_run_start', 'clyra_guard')()) }}{% endmacro %}

{% macro default__on_run_start() %}
    {%- if clyra_guard._is_running() -%}{%- do clyra_guard._session_tags() -%}{%- endif -%}
{% endmacro %}
