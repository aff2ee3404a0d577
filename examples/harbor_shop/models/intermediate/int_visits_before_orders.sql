-- SPDX-License-Identifier: Apache-2.0
select
    visits.visit_id,
    visits.campaign,
    min(orders.order_id) as order_id
from {{ ref('stg_web_visits') }} as visits
left join {{ ref('stg_orders') }} as orders
    on visits.customer_id = orders.customer_id
    and orders.channel = 'web'
    and orders.ordered_at >= visits.visited_at
    and orders.ordered_at < visits.visited_at + interval '7 days'
group by visits.visit_id, visits.campaign
