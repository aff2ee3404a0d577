-- SPDX-License-Identifier: Apache-2.0
select
    order_id,
    count(*) as line_count,
    cast(sum(quantity) as integer) as item_count,
    cast(sum(gross_cents) as integer) as gross_cents,
    cast(sum(net_cents) as integer) as net_cents
from {{ ref('int_order_lines_priced') }}
group by order_id
