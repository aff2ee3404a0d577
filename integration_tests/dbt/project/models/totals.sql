select count(*) as ships, sum(tons) as tons from {{ ref('heavy') }}
