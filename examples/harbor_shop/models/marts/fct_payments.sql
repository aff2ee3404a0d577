-- SPDX-License-Identifier: Apache-2.0
{#
  One batch per year. On Postgres dbt merges a batch by its key; on DuckDB it replaces the batch's time range and
  refuses a key.
#}
{{
    config(
        materialized='incremental',
        incremental_strategy='microbatch',
        unique_key='payment_id' if target.type == 'postgres' else none,
        event_time='paid_at',
        batch_size='year',
        begin='2024-01-01',
        lookback=1
    )
}}

select
    payment_id,
    order_id,
    method,
    paid_at,
    {{ cents_to_amount('amount_cents') }} as amount
from {{ ref('stg_payments') }}
where is_settled
