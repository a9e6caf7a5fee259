-- One row is a list: its last usable, first and newest snapshot, and the status of the newest one.
SELECT handle, max(snapshot_date) FILTER (completeness <> 'none') AS usable, relation,
    min(snapshot_date), max(snapshot_date), arg_max(lookup_status, snapshot_date)
FROM main.snapshots WHERE source = 'api'
GROUP BY handle, relation
ORDER BY handle, usable, relation
