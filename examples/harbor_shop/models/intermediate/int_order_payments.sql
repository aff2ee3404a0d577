-- SPDX-License-Identifier: Apache-2.0
select
    order_id,
    cast(sum(case when is_settled then amount_cents else 0 end) as integer) as settled_cents,
    count(case when not is_settled then 1 end) as failed_attempts,
    min(case when is_settled then paid_at end) as first_paid_at
from {{ ref('stg_payments') }}
group by order_id
