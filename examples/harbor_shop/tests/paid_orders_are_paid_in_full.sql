-- SPDX-License-Identifier: Apache-2.0
select order_id, net_amount, settled_amount
from {{ ref('fct_orders') }}
where (status in ('shipped', 'completed') and settled_amount <> net_amount)
    or (status in ('placed', 'returned', 'cancelled') and settled_amount <> 0)
