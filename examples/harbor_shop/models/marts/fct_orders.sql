-- SPDX-License-Identifier: Apache-2.0
select
    orders.order_id,
    orders.customer_id,
    orders.status,
    orders.channel,
    orders.ordered_on,
    totals.line_count,
    totals.item_count,
    {{ cents_to_amount('totals.gross_cents') }} as gross_amount,
    {{ cents_to_amount('totals.net_cents') }} as net_amount,
    {{ cents_to_amount('coalesce(payments.settled_cents, 0)') }} as settled_amount,
    coalesce(payments.failed_attempts, 0) as failed_attempts
from {{ ref('stg_orders') }} as orders
inner join {{ ref('int_order_totals') }} as totals on orders.order_id = totals.order_id
left join {{ ref('int_order_payments') }} as payments on orders.order_id = payments.order_id
