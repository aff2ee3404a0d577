{% macro repaint(name) %}
  {% do run_query("create table if not exists paint (name text)") %}
  {% do run_query("insert into paint values ('" ~ name ~ "')") %}
{% endmacro %}
