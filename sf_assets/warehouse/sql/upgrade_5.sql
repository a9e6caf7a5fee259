-- From format 4 to 5: new rules of proof. What is loaded stays; what is derived gets the columns that
-- the new rules need, and is derived anew, in one transaction, by the next derivation.
ALTER TABLE internal.warehouse_format ADD COLUMN IF NOT EXISTS rules INTEGER;
ALTER TABLE internal.snapshots ADD COLUMN IF NOT EXISTS exhaustive BOOLEAN;
ALTER TABLE internal.snapshots ADD COLUMN IF NOT EXISTS damaged_fields BIGINT DEFAULT 0;
-- Of formats 6 to 8: DuckDB alters no table that the same transaction has updated, and updates none
-- whose last new column has no default.
ALTER TABLE internal.snapshots ADD COLUMN imported_file VARCHAR;
ALTER TABLE internal.snapshots ADD COLUMN measures VARCHAR;
ALTER TABLE internal.snapshots ADD COLUMN source VARCHAR DEFAULT 'api';
ALTER TABLE internal.snapshots ADD COLUMN ordered BOOLEAN DEFAULT true;
UPDATE internal.snapshots
SET exhaustive = coalesce(
        lookup_status = 'found' AND end_reason = 'exhausted' AND reported_total <= listed
            AND listed - reported_total <= greatest(2, 0.005 * reported_total),
        false
    ),
    completeness = CASE
        WHEN end_reason = 'exhausted' AND listed > 0
            AND listed - reported_total > greatest(2, 0.005 * reported_total) THEN 'complete'
        ELSE completeness
    END;
ALTER TABLE internal.presences DROP COLUMN sec_key;
ALTER TABLE internal.presences ADD COLUMN first_missed DATE;
ALTER TABLE internal.presences ADD COLUMN followed_after DATE;
ALTER TABLE internal.presences ADD COLUMN followed_before DATE;
ALTER TABLE internal.presences ADD COLUMN undecided TINYINT;
ALTER TABLE internal.churn ADD COLUMN evidence VARCHAR;
ALTER TABLE internal.churn ADD COLUMN totals_agree BOOLEAN;
ALTER TABLE internal.churn ADD COLUMN misses TINYINT;
ALTER TABLE internal.churn ADD COLUMN confirmed_on DATE;
ALTER TABLE main.follower_growth ADD COLUMN followers_lost_provisional BIGINT;
ALTER TABLE internal.comparisons ADD COLUMN unnamed INTEGER;
DROP TABLE internal.aliases;
