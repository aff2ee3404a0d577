-- SPDX-License-Identifier: Apache-2.0
with gauges as (
    select * from {{ ref('gauges') }}
),

levels as (
    select * from {{ ref('levels') }}
)

select gauges.gauge_id, gauges.name, levels.level_id, levels.centimetres, levels.measured_at
from gauges
inner join levels on gauges.gauge_id = levels.gauge_id
