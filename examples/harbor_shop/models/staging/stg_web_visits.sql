-- SPDX-License-Identifier: Apache-2.0
-- depends_on: {{ ref('landed_web_visits') }}
select
    visit_id,
    customer_id,
    landing_path,
    coalesce(campaign, 'none') as campaign,
    page_views,
    visited_at
from {{ source('harbor', 'web_visits') }}
