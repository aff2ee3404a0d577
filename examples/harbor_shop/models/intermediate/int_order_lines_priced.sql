-- SPDX-License-Identifier: Apache-2.0
{{ config(materialized='ephemeral') }}

select
    order_id,
    line_number,
    sku,
    quantity,
    quantity * unit_price_cents as gross_cents,
    {{ discounted_cents('quantity * unit_price_cents', 'discount_percent') }} as net_cents
from {{ ref('stg_order_lines') }}
