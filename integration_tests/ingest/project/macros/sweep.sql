{% macro sweep(word) %}
  {% do run_query("create or replace table swept as select '" ~ word ~ "' as word") %}
{% endmacro %}
