-- SPDX-License-Identifier: Apache-2.0
select
    orders.customer_id,
    count(*) as order_count,
    cast(sum(totals.net_cents) as integer) as ordered_cents,
    min(orders.ordered_on) as first_order_on,
    max(orders.ordered_on) as last_order_on
from {{ ref('stg_orders') }} as orders
inner join {{ ref('int_order_totals') }} as totals on orders.order_id = totals.order_id
where orders.status not in ('cancelled', 'returned')
group by orders.customer_id
