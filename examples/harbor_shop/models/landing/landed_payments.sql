-- SPDX-License-Identifier: Apache-2.0
{{ config(unique_key='payment_id') }}

select
    payment_id,
    order_id,
    method,
    amount_cents,
    status,
    paid_at,
    {{ dbt.current_timestamp() }} as loaded_at
from {{ ref('raw_payments') }}
