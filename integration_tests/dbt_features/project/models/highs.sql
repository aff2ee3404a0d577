-- SPDX-License-Identifier: Apache-2.0
{{ config(materialized='view') }}
select gauge_id, centimetres from {{ ref('highest') }} where centimetres > 10
