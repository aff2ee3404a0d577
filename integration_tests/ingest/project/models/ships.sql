{{ config(materialized='table', contract={'enforced': true}) }}
select ship, count(*) as visits from {{ ref('berths') }} group by ship
