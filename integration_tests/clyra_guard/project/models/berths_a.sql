-- SPDX-License-Identifier: Apache-2.0
{{ config(materialized='table') }}

select name, {{ session_tag('run_id') }} as run_id
from {{ ref('berths') }}
