-- SPDX-License-Identifier: Apache-2.0
select
    countries.country_code,
    countries.country_name,
    countries.currency,
    count(distinct customers.customer_id) as customer_count,
    coalesce(sum(orders.net_amount), 0) as net_amount
from {{ ref('countries') }} as countries
left join {{ ref('stg_customers') }} as customers on countries.country_code = customers.country_code
left join {{ ref('fct_orders') }} as orders
    on customers.customer_id = orders.customer_id
    and orders.status not in ('cancelled', 'returned')
group by countries.country_code, countries.country_name, countries.currency
