-- SPDX-License-Identifier: Apache-2.0
{{ config(materialized='incremental', unique_key=['order_id', 'line_number'], on_schema_change='fail') }}

select
    lines.order_id,
    lines.line_number,
    lines.sku,
    orders.ordered_on,
    lines.quantity,
    {{ cents_to_amount('lines.net_cents') }} as net_amount
from {{ ref('int_order_lines_priced') }} as lines
inner join {{ ref('stg_orders') }} as orders on lines.order_id = orders.order_id
{% if is_incremental() %}
-- Orders may be corrected for a month.
where orders.ordered_on >= (select max(ordered_on) - interval '30 days' from {{ this }})
{% endif %}
