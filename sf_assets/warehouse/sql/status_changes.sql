-- Derive status_changes of the handles in `touched`: one row is one change between two snapshots.

DELETE FROM main.status_changes USING touched AS t WHERE status_changes.handle = t.handle;

INSERT INTO main.status_changes
SELECT relation, handle, from_status, lookup_status, snapshot_date, previous_date,
    concat_ws('/', CAST(snapshot_date AS VARCHAR), handle, relation,
        from_status || '-' || lookup_status)
FROM (
    SELECT relation, handle, snapshot_date, lookup_status,
        lag(lookup_status) OVER history AS from_status,
        lag(snapshot_date) OVER history AS previous_date
    FROM internal.snapshots SEMI JOIN touched USING (handle)
    WHERE source = 'api'
    WINDOW history AS (PARTITION BY relation, handle ORDER BY snapshot_date)
)
WHERE from_status <> lookup_status
ORDER BY snapshot_date, handle, relation;
