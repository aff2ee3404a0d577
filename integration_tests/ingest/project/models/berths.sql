select berth, ship, arrived, 'Sturmflut-1962' as origin from {{ ref('berths_raw') }}
