-- From format 2 to 3: there is a ledger, and readings that stop at what is known.
ALTER TABLE internal.comparisons ADD COLUMN IF NOT EXISTS reach DOUBLE;
ALTER TABLE internal.presences ADD COLUMN IF NOT EXISTS looked_on DATE;
ALTER TABLE main.follower_growth ADD COLUMN IF NOT EXISTS followers_lost_estimate BIGINT;
UPDATE main.follower_growth
SET followers_lost_estimate = greatest(0, followers_gained - followers_net)
WHERE followers_lost_estimate IS NULL AND followers_gained - followers_net IS NOT NULL;

-- Snapshots paid before there was a ledger: what is known of them is in one row each.
INSERT INTO main.credit_ledger BY NAME
SELECT s.relation, s.handle, s.snapshot_date, s.attempt, s.pages, s.credits_charged AS credits,
    s.started_at, s.run_id
FROM internal.snapshots AS s
ANTI JOIN main.credit_ledger AS l
    ON l.relation = s.relation AND l.handle = s.handle AND l.snapshot_date = s.snapshot_date
ORDER BY s.snapshot_date, s.relation, s.handle;
