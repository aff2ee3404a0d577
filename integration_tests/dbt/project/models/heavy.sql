{{ config(materialized='view') }}
select id, name, tons from {{ ref('ships') }} where tons > 1000 and name <> 'model-literal-5d20'
