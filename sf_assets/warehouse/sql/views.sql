-- What people query: views and table macros over schema internal, with their meanings as comments.

CREATE OR REPLACE VIEW main.snapshots AS
SELECT relation, handle, snapshot_date, lookup_status, end_reason, completeness, listed,
    reported_total, pages, credits_charged, started_at, finished_at, run_id
FROM internal.snapshots;

CREATE OR REPLACE VIEW main.follower_snapshots AS
SELECT * EXCLUDE (relation) FROM main.snapshots WHERE relation = 'followers';

CREATE OR REPLACE VIEW main.following_snapshots AS
SELECT * EXCLUDE (relation) FROM main.snapshots WHERE relation = 'following';

CREATE OR REPLACE VIEW main.memberships AS
SELECT relation, handle, account_id, first_seen, last_seen, start_kind, end_kind
FROM internal.presences;

CREATE OR REPLACE VIEW main.follower_churn AS
SELECT * EXCLUDE (relation) FROM internal.churn WHERE relation = 'followers';

CREATE OR REPLACE VIEW main.following_churn AS
SELECT * EXCLUDE (relation) FROM internal.churn WHERE relation = 'following';

CREATE OR REPLACE VIEW main.comparisons AS
SELECT * EXCLUDE (attempt, pages) FROM internal.comparisons;

CREATE OR REPLACE VIEW main.account_renames AS
SELECT relation, handle, account_id, from_handle, to_handle, seen_on FROM internal.renames;

CREATE OR REPLACE VIEW main.accounts AS
SELECT p.*, seen.first_seen, seen.last_seen
FROM internal.profiles AS p
JOIN (
    SELECT m.account_id, min(m.first_seen) AS first_seen,
        max(coalesce(m.last_seen, newest.snapshot_date)) AS last_seen
    FROM internal.presences AS m
    JOIN (
        SELECT relation, handle, max(snapshot_date) AS snapshot_date
        FROM internal.comparisons WHERE losses <> 'unusable' GROUP BY ALL
    ) AS newest USING (relation, handle)
    GROUP BY m.account_id
) AS seen USING (account_id);

-- The list of a relation as the latest usable snapshot on or before a day showed it.
CREATE OR REPLACE MACRO internal.list_on(wanted_relation, wanted_handle, wanted_day) AS TABLE
WITH stood AS (
    SELECT relation, handle, snapshot_date
    FROM internal.snapshots
    WHERE relation = wanted_relation
        AND handle = lower(ltrim(wanted_handle, '@'))
        AND snapshot_date <= CAST(wanted_day AS DATE)
        AND completeness <> 'none'
    ORDER BY snapshot_date DESC LIMIT 1
)
SELECT m.account_id, m.account_handle, p.display_name, m.first_seen, m.last_seen, m.start_kind,
    EXISTS (
        FROM internal.healings AS h
        WHERE h.relation = m.relation AND h.handle = m.handle AND h.account_id = m.account_id
            AND stood.snapshot_date BETWEEN h.missed_from AND h.missed_to
    ) AS healed
FROM stood
JOIN internal.snapshots AS s USING (relation, handle, snapshot_date)
JOIN internal.presences AS m USING (relation, handle)
LEFT JOIN internal.profiles AS p ON p.account_id = m.account_id
WHERE s.listed > 0
    AND m.first_seen <= stood.snapshot_date
    AND (m.last_seen IS NULL OR m.last_seen >= stood.snapshot_date)
ORDER BY m.place DESC;

CREATE OR REPLACE MACRO main.followers_on(wanted_handle, wanted_day) AS TABLE
SELECT * FROM internal.list_on('followers', wanted_handle, wanted_day);

CREATE OR REPLACE MACRO main.following_on(wanted_handle, wanted_day) AS TABLE
SELECT * FROM internal.list_on('following', wanted_handle, wanted_day);

CREATE OR REPLACE MACRO main.churn_between(wanted_handle, from_day, to_day) AS TABLE
SELECT relation, snapshot_date, previous_date, account_id, account_handle, change, state
FROM internal.churn
WHERE handle = lower(ltrim(wanted_handle, '@'))
    AND snapshot_date > CAST(from_day AS DATE)
    AND snapshot_date <= CAST(to_day AS DATE)
    AND state <> 'retracted'
ORDER BY snapshot_date, relation, change, account_handle;

COMMENT ON VIEW main.snapshots IS 'One row is one relation of one handle on one UTC day.';
COMMENT ON VIEW main.follower_snapshots IS 'One row is the follower list of one handle on one UTC day.';
COMMENT ON VIEW main.following_snapshots IS 'One row is the following list of one handle on one UTC day.';
COMMENT ON VIEW main.memberships IS 'One row is one unbroken presence of an account in a list.';
COMMENT ON VIEW main.follower_churn IS 'One row is one proved change of a follower list.';
COMMENT ON VIEW main.following_churn IS 'One row is one proved change of a following list.';
COMMENT ON VIEW main.comparisons IS 'One row is one snapshot against the latest earlier usable one: what it allows to claim.';
COMMENT ON VIEW main.account_renames IS 'One row is one change of an account''s handle, seen in a tracked list.';
COMMENT ON VIEW main.accounts IS 'One row is the newest known profile of an account.';
COMMENT ON TABLE main.follower_growth IS 'One row is one handle on one UTC day: totals, gains, losses, averages.';
COMMENT ON TABLE main.status_changes IS 'One row is one change of a lookup status between two snapshots of one list.';
