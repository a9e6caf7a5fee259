-- One row is one snapshot that waits to be compared, in the order of chunk.Snapshot's fields; the last
-- one is its file in the archive.
SELECT relation, handle, snapshot_date, attempt, pages, listed, reported_total, completeness,
    exhaustive, lookup_status, coalesce(end_reason = 'known', false), coalesce(damaged_fields, 0),
    coalesce(ordered, true), coalesce(end_reason = 'partial', false), archive_file
FROM internal.waiting
ORDER BY snapshot_date, relation, handle;
