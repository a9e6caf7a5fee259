-- One row is one list with its last snapshot before a day: status, pages, and the largest number of
-- accounts in any of its snapshots.
SELECT relation, handle, arg_max(lookup_status, snapshot_date), arg_max(pages, snapshot_date),
    max(listed)
FROM internal.snapshots WHERE snapshot_date < ? AND source = 'api' GROUP BY ALL
