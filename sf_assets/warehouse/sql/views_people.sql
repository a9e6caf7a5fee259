-- Views across lists and days: mutuals, overlap, retention.

-- The accounts that follow a handle and are followed by it, by the newest lists.
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

-- Both directions of a pair, so that a filter on `handle` finds all partners.
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

-- One row is one follower who came, with the days until it was proved to have left, or was last seen.
CREATE OR REPLACE VIEW internal.newcomers AS
WITH newest AS (
    SELECT handle, max(snapshot_date) AS newest_day,
        max(snapshot_date) FILTER (reach IS NULL) AS whole_day
    FROM internal.comparisons
    WHERE relation = 'followers' AND losses <> 'unusable' GROUP BY handle
)
SELECT m.handle, m.first_seen, n.newest_day,
    coalesce(m.looked_on, m.last_seen, greatest(m.first_seen, n.whole_day)) - m.first_seen
        AS seen_for,
    CASE WHEN c.state = 'confirmed' THEN m.first_missed - m.first_seen END AS lost_after
FROM internal.presences AS m
JOIN newest AS n ON n.handle = m.handle
LEFT JOIN internal.churn AS c
    ON c.relation = m.relation AND c.handle = m.handle AND c.account_id = m.account_id
    AND c.change = 'lost' AND c.snapshot_date = m.first_missed
WHERE m.relation = 'followers' AND m.start_kind IN ('gained', 'returned');

-- A week's new followers, 1, 2, … weeks after each of them came, as far as there are snapshots: the
-- Kaplan-Meier estimate. Only a confirmed loss is an event, on the day of the first list that proves
-- it; whoever fell beyond what the list shows, or is not proved to have left, is censored when last
-- seen. The interval is the 95 % one of Greenwood's formula on the log-log scale.
CREATE OR REPLACE VIEW main.weekly_retention AS
WITH timed AS (
    SELECT *, CAST(date_trunc('week', first_seen) AS DATE) AS week FROM internal.newcomers
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
