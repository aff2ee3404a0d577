-- SPDX-License-Identifier: Apache-2.0
select orders.total, payments.total as payments_total
from (select sum(settled_amount) as total from {{ ref('fct_orders') }}) as orders
cross join (select sum(amount) as total from {{ ref('fct_payments') }}) as payments
where orders.total <> payments.total
