-- One row is a list with the day of its first snapshot.
SELECT relation, handle, min(snapshot_date) FROM main.snapshots WHERE source = 'api' GROUP BY ALL;
