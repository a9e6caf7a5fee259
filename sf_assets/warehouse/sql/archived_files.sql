UNION ALL BY NAME
FROM read_parquet(
    getvariable('{name}_files'), filename = 'path', union_by_name = true, hive_partitioning = false
)
