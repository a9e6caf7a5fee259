-- One row is one snapshot of a batch, from its pages.
SELECT relation, handle, snapshot_date, lookup_status, end_reason, listed, reported_total, pages,
    credits_charged, started_at, finished_at, run_id, attempt, damaged_fields, nameless
FROM staged_snapshots ORDER BY relation, handle
