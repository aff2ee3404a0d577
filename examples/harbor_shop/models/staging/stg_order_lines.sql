-- SPDX-License-Identifier: Apache-2.0
select
    order_id,
    line_number,
    sku,
    quantity,
    unit_price_cents,
    discount_percent
from {{ ref('raw_order_lines') }}
