-- What a warehouse made by an older version lacks. Runs after schema.sql, when the words changed.

-- Snapshots paid before there was a ledger: what is known of them is in one row each.
INSERT INTO main.credit_ledger BY NAME
SELECT s.relation, s.handle, s.snapshot_date, s.attempt, s.pages, s.credits_charged AS credits,
    s.started_at, s.run_id
FROM internal.snapshots AS s
ANTI JOIN main.credit_ledger AS l
    ON l.relation = s.relation AND l.handle = s.handle AND l.snapshot_date = s.snapshot_date
ORDER BY s.snapshot_date, s.relation, s.handle;
