-- One row is a stored list of a day: from the first parameter on, for the handles in the second one, or
-- for all handles if it is NULL.
SELECT relation, handle, snapshot_date, end_reason
FROM main.snapshots
WHERE source = 'api' AND snapshot_date >= $1 AND ($2 IS NULL OR list_contains($2, handle));
