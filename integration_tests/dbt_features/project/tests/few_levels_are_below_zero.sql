-- SPDX-License-Identifier: Apache-2.0
{{ config(severity='warn') }}
select level_id from {{ ref('levels_by_gauge') }} where centimetres < 0
