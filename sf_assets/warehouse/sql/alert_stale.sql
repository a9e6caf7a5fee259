-- One row is a list as the API shows it: when it was last usable, its first and newest snapshot, the newest's status.
SELECT handle, max(snapshot_date) FILTER (completeness <> 'none') AS usable, relation,
    min(snapshot_date), max(snapshot_date), arg_max(lookup_status, snapshot_date)
FROM main.snapshots WHERE source = 'api'
GROUP BY handle, relation
ORDER BY handle, usable, relation
