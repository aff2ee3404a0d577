select * from {{ ref('log') }} where id is null
