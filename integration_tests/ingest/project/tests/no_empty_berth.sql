select * from {{ ref('berths') }} where ship = 'Sturmflut-1962' and {{ var('fail', false) }}
