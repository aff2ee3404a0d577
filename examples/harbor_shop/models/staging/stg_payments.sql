-- SPDX-License-Identifier: Apache-2.0
-- depends_on: {{ ref('landed_payments') }}
{{ config(event_time='paid_at') }}

select
    payment_id,
    order_id,
    method,
    status = 'settled' as is_settled,
    amount_cents,
    paid_at
from {{ source('harbor', 'payments') }}
