-- One row is one loaded snapshot of `wanted`, in the order of SnapshotRow's fields.
SELECT s.relation, s.handle, s.snapshot_date, lookup_status, end_reason, completeness, listed,
    reported_total, pages, credits_charged,
    strftime(started_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ'),
    strftime(finished_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ'),
    run_id, attempt, archive_file, coalesce(damaged_fields, 0), coalesce(source, 'api'),
    coalesce(ordered, true), imported_file, measures
FROM internal.snapshots AS s
SEMI JOIN wanted AS w
    ON w.relation = s.relation AND w.handle = s.handle AND w.day = s.snapshot_date
ORDER BY s.snapshot_date, s.relation, s.handle
