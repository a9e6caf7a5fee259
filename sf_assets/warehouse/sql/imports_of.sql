-- The imports among some lists, each named as relation/handle/day.
SELECT source[8:] AS name, imported_file AS file, relation, handle, snapshot_date, finished_at
FROM internal.snapshots
WHERE starts_with(source, 'import:')
    AND list_contains($1, relation || '/' || handle || '/' || CAST(snapshot_date AS VARCHAR))
ORDER BY ALL
