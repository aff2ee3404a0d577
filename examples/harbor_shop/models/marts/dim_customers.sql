-- SPDX-License-Identifier: Apache-2.0
select
    cast(customers.customer_id as varchar) as customer_id,
    cast(customers.full_name as varchar) as full_name,
    cast(countries.country_name as varchar) as country_name,
    cast(customers.loyalty_tier as varchar) as loyalty_tier,
    customers.signed_up_on,
    customers.email is not null as has_email,
    cast(coalesce(orders.order_count, 0) as integer) as order_count,
    {{ cents_to_amount('coalesce(orders.ordered_cents, 0)') }} as ordered_amount,
    orders.first_order_on,
    orders.last_order_on
from {{ ref('stg_customers') }} as customers
inner join {{ ref('countries') }} as countries on customers.country_code = countries.country_code
left join {{ ref('int_customer_orders') }} as orders on customers.customer_id = orders.customer_id
