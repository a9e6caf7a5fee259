-- What people query: views and table macros over schema internal, with their meanings as comments.

CREATE OR REPLACE VIEW main.snapshots AS
SELECT relation, handle, snapshot_date, lookup_status, end_reason, completeness, exhaustive,
    listed, reported_total, pages, credits_charged, started_at, finished_at, run_id, damaged_fields,
    source
FROM internal.snapshots;

CREATE OR REPLACE VIEW main.about AS
SELECT '{version}' AS version, format, published_at,
    (SELECT max(snapshot_date) FROM internal.snapshots) AS last_day
FROM internal.warehouse_format;

CREATE OR REPLACE VIEW main.follower_snapshots AS
SELECT * EXCLUDE (relation) FROM main.snapshots WHERE relation = 'followers';

CREATE OR REPLACE VIEW main.following_snapshots AS
SELECT * EXCLUDE (relation) FROM main.snapshots WHERE relation = 'following';

CREATE OR REPLACE VIEW main.memberships AS
SELECT relation, handle, account_id, first_seen, coalesce(looked_on, last_seen) AS last_seen,
    first_missed, followed_after, followed_before, start_kind, end_kind
FROM internal.presences;

CREATE OR REPLACE VIEW main.follower_churn AS
SELECT * EXCLUDE (relation, misses, confirmed_on) FROM internal.churn WHERE relation = 'followers';

CREATE OR REPLACE VIEW main.following_churn AS
SELECT * EXCLUDE (relation, misses, confirmed_on) FROM internal.churn WHERE relation = 'following';

CREATE OR REPLACE VIEW main.comparisons AS
SELECT * EXCLUDE (attempt, pages, reach, unnamed) FROM internal.comparisons;

CREATE OR REPLACE VIEW main.account_renames AS
SELECT relation, handle, account_id, from_handle, to_handle, seen_on FROM internal.renames;

-- The newest reading of each list, and before it, where it stopped at what is known, those back to
-- the last that did not: who stands below a reach was last read by an earlier one.
CREATE OR REPLACE VIEW internal.latest_looks AS
SELECT c.relation, c.handle, c.snapshot_date, c.reach
FROM internal.comparisons AS c
JOIN (
    SELECT relation, handle, max(snapshot_date) AS snapshot_date FROM internal.comparisons
    WHERE losses <> 'unusable' AND reach IS NULL
    GROUP BY relation, handle
) AS w ON w.relation = c.relation AND w.handle = c.handle AND c.snapshot_date >= w.snapshot_date
WHERE c.losses <> 'unusable';

-- The id that stands in a list as it is, if it is one of TikTok's own, is the account_id.
CREATE OR REPLACE VIEW internal.profiles AS
SELECT account_id, account_handle,
    CASE
        WHEN account_id[1] BETWEEN '0' AND '9' THEN account_id
        WHEN starts_with(account_id, 'id:') THEN account_id[4:]
    END AS platform_user_id,
    internal.sec_uid_of(sec_uid_bytes, sec_uid_text) AS sec_uid, display_name, bio, verified,
    private_account, followers, following, posts, avatar_url,
    internal.avatar_urls_of(avatar_rests, avatar_url) AS avatar_urls, profile_url, region,
    "language", account_created_at, details, followers_digest, following_digest
FROM internal.stored_profiles;

CREATE OR REPLACE VIEW main.accounts AS
SELECT p.* EXCLUDE (followers_digest, following_digest), seen.first_seen, seen.last_seen
FROM internal.profiles AS p
JOIN (
    SELECT m.account_id, min(m.first_seen) AS first_seen,
        max(coalesce(m.looked_on, m.last_seen, greatest(m.first_seen, l.snapshot_date)))
            AS last_seen
    FROM internal.presences AS m
    JOIN internal.latest_looks AS l
        ON l.relation = m.relation AND l.handle = m.handle
        AND (l.reach IS NULL OR m.place >= l.reach)
    GROUP BY m.account_id
) AS seen USING (account_id);

-- Of today's lists: who follows a handle and is followed by it.
CREATE OR REPLACE VIEW main.mutuals AS
SELECT m.handle, m.account_id, coalesce(p.account_handle, m.account_handle) AS account_handle,
    p.display_name, p.verified, p.followers, m.first_seen AS follows_since,
    back.first_seen AS followed_since
FROM internal.presences AS m
JOIN internal.presences AS back
    ON back.handle = m.handle AND back.account_id = m.account_id AND back.relation = 'following'
LEFT JOIN internal.profiles AS p ON p.account_id = m.account_id
WHERE m.relation = 'followers' AND m.last_seen IS NULL AND back.last_seen IS NULL;

CREATE OR REPLACE VIEW main.lost_mutuals AS
WITH followed AS (
    SELECT m.handle, m.account_id, m.first_seen, m.last_seen,
        coalesce(m.end_kind = 'lost' AND c.state = 'confirmed', false) AS left_it
    FROM internal.presences AS m
    LEFT JOIN internal.churn AS c
        ON c.relation = m.relation AND c.handle = m.handle AND c.account_id = m.account_id
        AND c.change = 'lost' AND c.snapshot_date = m.first_missed
    WHERE m.relation = 'following'
),
now AS (
    SELECT handle, account_id,
        CASE WHEN bool_or(last_seen IS NULL) THEN true
            WHEN arg_max(left_it, first_seen) THEN false END AS still_followed
    FROM followed GROUP BY handle, account_id
)
SELECT c.handle, c.snapshot_date, c.previous_date, c.account_id, c.account_handle, c.state,
    max(back.first_seen) AS followed_since, any_value(now.still_followed) AS still_followed
FROM internal.churn AS c
JOIN followed AS back
    ON back.handle = c.handle AND back.account_id = c.account_id
    AND back.first_seen <= c.previous_date
    AND (back.last_seen IS NULL OR back.last_seen >= c.previous_date)
JOIN now ON now.handle = c.handle AND now.account_id = c.account_id
WHERE c.relation = 'followers' AND c.change = 'lost' AND c.state <> 'retracted'
GROUP BY c.handle, c.snapshot_date, c.previous_date, c.account_id, c.account_handle, c.state;

CREATE OR REPLACE VIEW main.notable_changes AS
SELECT c.relation, c.handle, c.snapshot_date, c.change, c.state, c.account_id, c.account_handle,
    p.display_name, p.verified, p.followers
FROM internal.churn AS c
JOIN internal.profiles AS p USING (account_id)
WHERE c.state <> 'retracted' AND (p.verified OR p.followers >= 10000);

-- Both directions of a pair, so that one handle's partners are found by `handle` alone.
CREATE OR REPLACE VIEW main.audience_overlap AS
WITH listed AS (
    SELECT handle, account_id FROM internal.presences
    WHERE relation = 'followers' AND last_seen IS NULL
),
sizes AS (SELECT handle, count(*) AS accounts FROM listed GROUP BY handle),
pairs AS (
    SELECT a.handle, b.handle AS other_handle, count(*) AS shared
    FROM listed AS a JOIN listed AS b USING (account_id)
    WHERE a.handle <> b.handle
    GROUP BY ALL
)
SELECT p.handle, p.other_handle, p.shared, s.accounts AS listed, o.accounts AS other_listed,
    p.shared / s.accounts AS share, p.shared / (s.accounts + o.accounts - p.shared) AS jaccard
FROM pairs AS p
JOIN sizes AS s ON s.handle = p.handle
JOIN sizes AS o ON o.handle = p.other_handle;

-- A week's new followers, 1, 2, … weeks after each of them came, as far as there are snapshots: the
-- Kaplan-Meier estimate. Only a confirmed loss is an event, on the day of the first list that proves
-- it; whoever fell beyond what the list shows, or is not proved to have left, is censored when last
-- seen. The interval is the 95 % one of Greenwood's formula on the log-log scale.
CREATE OR REPLACE VIEW main.weekly_retention AS
WITH newest AS (
    SELECT handle, max(snapshot_date) AS newest_day,
        max(snapshot_date) FILTER (reach IS NULL) AS whole_day
    FROM internal.comparisons
    WHERE relation = 'followers' AND losses <> 'unusable' GROUP BY handle
),
-- One row is one follower, with the days until it was proved to have left, or was last seen.
timed AS (
    SELECT m.handle, CAST(date_trunc('week', m.first_seen) AS DATE) AS week, n.newest_day,
        coalesce(m.looked_on, m.last_seen, greatest(m.first_seen, n.whole_day)) - m.first_seen
            AS seen_for,
        CASE WHEN c.state = 'confirmed' THEN m.first_missed - m.first_seen END AS lost_after
    FROM internal.presences AS m
    JOIN newest AS n ON n.handle = m.handle
    LEFT JOIN internal.churn AS c
        ON c.relation = m.relation AND c.handle = m.handle AND c.account_id = m.account_id
        AND c.change = 'lost' AND c.snapshot_date = m.first_missed
    WHERE m.relation = 'followers' AND m.start_kind IN ('gained', 'returned')
),
steps AS (
    SELECT handle, week, coalesce(lost_after, seen_for) AS days,
        count(lost_after) AS events,
        sum(count(*)) OVER (PARTITION BY handle, week ORDER BY days DESC) AS at_risk
    FROM timed GROUP BY handle, week, days
),
curve AS (
    SELECT handle, week, days, product(1 - events / at_risk) OVER past AS survival,
        sum(CASE WHEN at_risk > events THEN events / (at_risk * (at_risk - events)) END) OVER past
            AS variance
    FROM steps WHERE events > 0
    WINDOW past AS (PARTITION BY handle, week ORDER BY days)
),
weeks AS (
    SELECT t.handle, t.week, w.weeks_after, 7 * w.weeks_after AS days, count(*) AS gained,
        count(*) FILTER (t.seen_for >= 7 * w.weeks_after) AS still_listed,
        count(*) FILTER (t.lost_after <= 7 * w.weeks_after) AS lost,
        count(*) FILTER (coalesce(t.lost_after, t.seen_for) >= 7 * w.weeks_after) AS at_risk
    FROM timed AS t
    JOIN (SELECT CAST(unnest(range(1, 27)) AS INTEGER) AS weeks_after) AS w
        ON t.week + 6 + 7 * w.weeks_after <= t.newest_day
    GROUP BY t.handle, t.week, w.weeks_after
),
estimated AS (
    SELECT w.*, c.variance,
        -- Nobody is known to follow still, and not all are known to have left: nobody can know.
        CASE WHEN w.still_listed > 0 OR w.lost = w.gained THEN coalesce(c.survival, 1) END
            AS retention
    FROM weeks AS w
    ASOF LEFT JOIN curve AS c
        ON c.handle = w.handle AND c.week = w.week AND c.days <= w.days
)
SELECT handle, week, weeks_after, gained, still_listed, lost,
    gained - still_listed - lost AS unknown, retention, at_risk,
    CASE WHEN retention > 0 AND retention < 1
        THEN retention ** exp(1.959963984540054 * sqrt(variance) / -ln(retention)) END
        AS retention_low,
    CASE WHEN retention > 0 AND retention < 1
        THEN retention ** exp(-1.959963984540054 * sqrt(variance) / -ln(retention)) END
        AS retention_high
FROM estimated;

CREATE OR REPLACE VIEW main.tenure_of_lost AS
SELECT m.relation, m.handle, m.account_id, m.account_handle, m.first_seen,
    coalesce(m.looked_on, m.last_seen) AS last_seen,
    coalesce(m.looked_on, m.last_seen) - m.first_seen + 1 AS tenure_days,
    m.start_kind IN ('baseline', 'revealed') AS is_lower_bound
FROM internal.presences AS m
JOIN internal.churn AS c
    ON c.relation = m.relation AND c.handle = m.handle AND c.account_id = m.account_id
    AND c.change = 'lost' AND c.snapshot_date = m.first_missed AND c.state = 'confirmed'
WHERE m.end_kind = 'lost';

-- Each list as its usable snapshot showed it; where the snapshot stopped at what is known, the rest
-- of the list is as it was known then.
CREATE OR REPLACE VIEW main.list_days AS
SELECT s.handle, s.relation, s.snapshot_date,
    row_number() OVER (
        PARTITION BY s.handle, s.relation, s.snapshot_date ORDER BY m.place DESC, m.account_id
    ) AS position,
    m.account_id, m.account_handle, p.display_name, m.first_seen, m.last_seen, m.start_kind,
    EXISTS (
        FROM internal.healings AS h
        WHERE h.relation = m.relation AND h.handle = m.handle AND h.account_id = m.account_id
            AND s.snapshot_date BETWEEN h.missed_from AND h.missed_to
    ) AS healed
FROM internal.snapshots AS s
JOIN internal.presences AS m
    ON m.relation = s.relation AND m.handle = s.handle AND m.first_seen <= s.snapshot_date
    AND (m.last_seen IS NULL OR m.last_seen >= s.snapshot_date)
LEFT JOIN internal.profiles AS p ON p.account_id = m.account_id
WHERE s.completeness <> 'none' AND s.listed > 0;

-- The list of a relation as the latest usable snapshot on or before a day showed it. Looks for that
-- day first: through `list_days` the lists of all days would be made.
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
COMMENT ON VIEW main.about IS 'One row: which version made this, and how fresh it is.';
COMMENT ON VIEW main.follower_snapshots IS 'One row is the follower list of one handle on one UTC day.';
COMMENT ON VIEW main.following_snapshots IS 'One row is the following list of one handle on one UTC day.';
COMMENT ON VIEW main.list_days IS 'One row is one account in a list of a day.';
COMMENT ON VIEW main.memberships IS 'One row is one unbroken presence of an account in a list.';
COMMENT ON VIEW main.follower_churn IS 'One row is one proved change of a follower list.';
COMMENT ON VIEW main.following_churn IS 'One row is one proved change of a following list.';
COMMENT ON VIEW main.comparisons IS 'One row is one snapshot against the latest earlier usable one: what it allows to claim.';
COMMENT ON VIEW main.account_renames IS 'One row is one change of an account''s handle, seen in a tracked list.';
COMMENT ON VIEW main.accounts IS 'One row is the newest known profile of an account.';
COMMENT ON VIEW main.mutuals IS 'One row is one account that follows a handle and is followed back, by the newest lists.';
COMMENT ON VIEW main.lost_mutuals IS 'One row is one lost follower whom the handle had followed back.';
COMMENT ON VIEW main.notable_changes IS 'One row is one change by an account that is verified or has 10,000 followers or more.';
COMMENT ON VIEW main.audience_overlap IS 'One row is two tracked handles with followers in common, by the newest lists.';
COMMENT ON VIEW main.weekly_retention IS 'One row is the new followers of one handle and week, so many weeks later.';
COMMENT ON VIEW main.tenure_of_lost IS 'One row is one lost account and how long it had stayed.';
COMMENT ON TABLE main.follower_growth IS 'One row is one handle on one UTC day: totals, gains, losses, averages.';
COMMENT ON TABLE main.status_changes IS 'One row is one change of a lookup status between two snapshots of one list.';
COMMENT ON MACRO TABLE main.followers_on IS 'One row is one account in the follower list as it stood on a day.';
COMMENT ON MACRO TABLE main.following_on IS 'One row is one account in the following list as it stood on a day.';
COMMENT ON MACRO TABLE main.churn_between IS 'One row is one account that came or left after one day, up to another.';
COMMENT ON TABLE main.credit_ledger IS 'One row is one attempt at a snapshot and what it cost.';
COMMENT ON TABLE main.credit_balances IS 'One row is one run that asked for lists: the balance before and after it.';
COMMENT ON TABLE main.handles IS 'One row is one handle that is or was tracked.';
