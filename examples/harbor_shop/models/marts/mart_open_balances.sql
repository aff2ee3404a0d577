-- SPDX-License-Identifier: Apache-2.0
{{ config(materialized='view') }}

select
    order_id,
    customer_id,
    status,
    net_amount - settled_amount as open_amount
from {{ ref('fct_orders') }}
where status not in ('cancelled', 'returned')
    and net_amount > settled_amount
