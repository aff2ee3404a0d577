-- SPDX-License-Identifier: Apache-2.0
-- Postgres merges a batch and wants a key, DuckDB replaces it and refuses one.
{{
    config(
        materialized='incremental',
        incremental_strategy='microbatch',
        event_time='measured_at',
        batch_size='year',
        begin='2023-01-01',
        unique_key='level_id' if target.type == 'postgres' else none
    )
}}
select
    level_id,
    {% if model.batch and model.batch.id == var('spoiled_batch', '') -%}
    cast(name as integer) as centimetres,
    {%- else -%}
    centimetres,
    {%- endif %}
    measured_at
from {{ ref('levels_by_gauge') }}
