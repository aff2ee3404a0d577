-- SPDX-License-Identifier: Apache-2.0
{{ config(unique_key='order_id') }}

select
    order_id,
    customer_id,
    ordered_at,
    status,
    channel,
    note,
    {{ dbt.current_timestamp() }} as loaded_at
from {{ ref('raw_orders') }}
