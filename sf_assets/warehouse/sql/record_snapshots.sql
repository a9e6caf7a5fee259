-- Insert the rows of `incoming`, replacing rows of the same list and day.
DELETE FROM internal.snapshots USING incoming AS i
WHERE snapshots.relation = i.relation AND snapshots.handle = i.handle
    AND snapshots.snapshot_date = i.snapshot_date;
INSERT INTO internal.snapshots BY NAME
SELECT * REPLACE (
    CAST(started_at AS TIMESTAMPTZ) AS started_at, CAST(finished_at AS TIMESTAMPTZ) AS finished_at
)
FROM incoming ORDER BY relation, handle, snapshot_date;
