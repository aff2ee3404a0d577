-- SPDX-License-Identifier: Apache-2.0
select gauge_id, cast(max(centimetres) as integer) as centimetres
from {{ ref('levels_by_gauge') }}
group by gauge_id
