-- One row is one list with its latest snapshot before a day: status and pages, and the most accounts
-- that any snapshot of it listed.
SELECT relation, handle, arg_max(lookup_status, snapshot_date), arg_max(pages, snapshot_date),
    max(listed)
FROM internal.snapshots WHERE snapshot_date < ? AND source = 'api' GROUP BY ALL
