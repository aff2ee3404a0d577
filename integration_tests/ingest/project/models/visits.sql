{{ config(materialized='incremental', unique_key='ship') }}
select ship, visits from {{ ref('ships') }}
{% if is_incremental() %} where visits > (select min(visits) - 1 from {{ this }}) {% endif %}
