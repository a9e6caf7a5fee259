-- Upsert `incoming_paid` into credit_ledger: an attempt that continued costs more.

CREATE OR REPLACE TEMP TABLE newly_paid AS
SELECT i.* REPLACE (CAST(i.started_at AS TIMESTAMPTZ) AS started_at)
FROM incoming_paid AS i
LEFT JOIN main.credit_ledger AS l
    ON l.relation = i.relation AND l.handle = i.handle AND l.snapshot_date = i.snapshot_date
    AND l.attempt = i.attempt
WHERE coalesce(i.credits >= l.credits, true);

DELETE FROM main.credit_ledger USING newly_paid AS n
WHERE credit_ledger.relation = n.relation AND credit_ledger.handle = n.handle
    AND credit_ledger.snapshot_date = n.snapshot_date AND credit_ledger.attempt = n.attempt;

INSERT INTO main.credit_ledger BY NAME
FROM newly_paid ORDER BY snapshot_date, relation, handle, attempt;

DROP TABLE newly_paid;
