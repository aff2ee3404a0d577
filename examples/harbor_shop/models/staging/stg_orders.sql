-- SPDX-License-Identifier: Apache-2.0
-- depends_on: {{ ref('landed_orders') }}
select
    order_id,
    customer_id,
    status,
    channel,
    note,
    ordered_at,
    cast(ordered_at as date) as ordered_on
from {{ source('harbor', 'orders') }}
