-- SPDX-License-Identifier: Apache-2.0
select
    sku,
    product_name,
    category,
    {{ cents_to_amount('list_price_cents') }} as list_price,
    {{ cents_to_amount('list_price_cents - unit_cost_cents') }} as list_margin,
    is_active
from {{ ref('stg_products') }}
