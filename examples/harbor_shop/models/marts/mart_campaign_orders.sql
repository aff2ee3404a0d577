-- SPDX-License-Identifier: Apache-2.0
select
    campaign,
    count(*) as visit_count,
    count(order_id) as visits_with_order,
    count(distinct order_id) as order_count
from {{ ref('int_visits_before_orders') }}
group by campaign
