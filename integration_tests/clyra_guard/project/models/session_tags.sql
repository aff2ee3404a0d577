-- SPDX-License-Identifier: Apache-2.0
{{ config(materialized='table') }}

select
    {{ session_tag('run_id') }} as run_id,
    {{ session_tag('actor_id') }} as actor_id,
    {{ session_tag('tenant_id') }} as tenant_id
