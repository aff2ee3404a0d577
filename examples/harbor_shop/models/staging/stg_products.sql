-- SPDX-License-Identifier: Apache-2.0
select
    sku,
    product_name,
    coalesce(category, 'uncategorized') as category,
    list_price_cents,
    unit_cost_cents,
    is_active,
    updated_at
from {{ ref('raw_products') }}
