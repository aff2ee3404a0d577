{{ config(materialized='incremental', unique_key='id', post_hook="delete from {{ this }} where name = 'post-hook-literal-1b44'") }}
select id, name from {{ ref('ships') }}
{% if is_incremental() %} where id > (select coalesce(max(id), 0) from {{ this }}) - 1 {% endif %}
