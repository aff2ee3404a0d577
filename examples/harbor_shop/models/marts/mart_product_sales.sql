-- SPDX-License-Identifier: Apache-2.0
select
    products.sku,
    products.product_name,
    products.category,
    coalesce(sum(lines.quantity), 0) as quantity,
    coalesce(sum(lines.net_amount), 0) as net_amount
from {{ ref('dim_products') }} as products
left join {{ ref('fct_order_lines') }} as lines on products.sku = lines.sku
group by products.sku, products.product_name, products.category
