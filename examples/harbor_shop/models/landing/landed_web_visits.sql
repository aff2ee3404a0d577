-- SPDX-License-Identifier: Apache-2.0
{{ config(unique_key='visit_id') }}

select
    visit_id,
    visited_at,
    customer_id,
    landing_path,
    campaign,
    page_views,
    {{ dbt.current_timestamp() }} as loaded_at
from {{ ref('raw_web_visits') }}
