-- SPDX-License-Identifier: Apache-2.0
select
    customer_id,
    trim(full_name) as full_name,
    lower(email) as email,
    country_code,
    postal_code,
    loyalty_tier,
    delivery_note,
    signed_up_at,
    cast(signed_up_at as date) as signed_up_on
from {{ ref('raw_customers') }}
