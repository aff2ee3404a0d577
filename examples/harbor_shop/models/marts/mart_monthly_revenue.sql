-- SPDX-License-Identifier: Apache-2.0
select
    cast({{ dbt.date_trunc('month', 'ordered_on') }} as date) as month_start,
    channel,
    count(*) as order_count,
    sum(net_amount) as net_amount,
    sum(gross_amount - net_amount) as discount_amount
from {{ ref('fct_orders') }}
where status not in ('cancelled', 'returned')
group by 1, 2
