-- One row is one list of a full file: whether its digests match its rows, or are missing.
SELECT relation, handle, bool_and(profile_digest IS NOT DISTINCT FROM {digest}),
    bool_and(profile_digest IS NULL)
FROM read_parquet(?, hive_partitioning = false)
GROUP BY ALL
