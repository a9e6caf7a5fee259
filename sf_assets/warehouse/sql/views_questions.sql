-- What people ask of one account, of two lists of a handle, of a group of handles.

-- A stay of an account in a list, between which days it began and ended, and what proves that.
CREATE OR REPLACE VIEW main.account_history AS
SELECT m.account_id, coalesce(p.account_handle, m.account_handle) AS account_handle,
    p.display_name, m.relation, m.handle, m.account_handle AS listed_as,
    m.first_seen, coalesce(m.looked_on, m.last_seen) AS last_seen,
    CASE WHEN m.last_seen IS NOT NULL THEN false WHEN m.looked_on IS NULL THEN true END
        AS still_listed,
    m.start_kind, greatest(m.followed_after, s.previous_date) AS began_after,
    coalesce(m.followed_before, m.first_seen) AS began_before, s.evidence AS start_evidence,
    m.end_kind, CASE WHEN e.change = 'lost' THEN coalesce(m.looked_on, m.last_seen) END
        AS ended_after,
    m.first_missed AS ended_before, e.state AS end_state, e.evidence AS end_evidence,
    e.totals_agree
FROM internal.presences AS m
LEFT JOIN internal.profiles AS p ON p.account_id = m.account_id
LEFT JOIN internal.churn AS s
    ON s.relation = m.relation AND s.handle = m.handle AND s.account_id = m.account_id
    AND s.change IN ('gained', 'returned') AND s.snapshot_date = m.first_seen
LEFT JOIN internal.churn AS e
    ON e.relation = m.relation AND e.handle = m.handle AND e.account_id = m.account_id
    AND e.change = 'lost' AND e.snapshot_date = m.first_missed;

-- The newest usable snapshot of each list, and how many accounts are listed by now. whole: nobody is
-- left out, because the snapshot shows everyone; or because one before it did, each since has shown
-- all who came, and the total is still no more than what is listed.
CREATE OR REPLACE VIEW internal.newest_lists AS
SELECT c.relation, c.handle, c.snapshot_date,
    internal.total_of(s.listed, s.reported_total, s.completeness) AS total,
    coalesce(now.accounts, 0) AS accounts,
    coalesce(w.whole_day IS NOT NULL AND c.unnamed = 0, false)
        AND coalesce(
            s.reported_total <= now.accounts
                AND now.accounts - s.reported_total <= greatest(2, 0.005 * s.reported_total),
            s.exhaustive, false
        )
        AND NOT EXISTS (
            FROM internal.comparisons AS gap
            WHERE gap.relation = c.relation AND gap.handle = c.handle
                AND gap.snapshot_date > w.whole_day AND gap.losses <> 'unusable'
                AND gap.gains NOT IN ('front', 'all')
        ) AS whole
FROM internal.comparisons AS c
JOIN internal.snapshots AS s
    ON s.relation = c.relation AND s.handle = c.handle AND s.snapshot_date = c.snapshot_date
LEFT JOIN (
    SELECT relation, handle, max(snapshot_date) AS whole_day FROM internal.snapshots
    WHERE exhaustive GROUP BY relation, handle
) AS w ON w.relation = c.relation AND w.handle = c.handle
LEFT JOIN (
    SELECT relation, handle, count(*) AS accounts FROM internal.presences
    WHERE last_seen IS NULL GROUP BY relation, handle
) AS now ON now.relation = c.relation AND now.handle = c.handle
WHERE c.losses <> 'unusable'
QUALIFY row_number() OVER (
    PARTITION BY c.relation, c.handle ORDER BY c.snapshot_date DESC
) = 1;

-- Who is in one list of a handle, and whether in the other: `is_mutual` is false only where the other
-- list shows everyone, or where the account was in it and has left it for sure; null: not known. An
-- account that is tracked itself has a list that tells the same from its side: where that is as new as
-- the other list, it counts if it shows the handle, or everyone.
CREATE OR REPLACE VIEW internal.sides AS
WITH past AS (
    SELECT m.relation, m.handle, m.account_id,
        bool_or(m.last_seen IS NULL) AS is_there,
        arg_max(coalesce(m.end_kind = 'lost' AND c.state = 'confirmed', false), m.first_seen)
            AS has_left,
        max(m.first_missed) AS first_missed
    FROM internal.presences AS m
    LEFT JOIN internal.churn AS c
        ON c.relation = m.relation AND c.handle = m.handle AND c.account_id = m.account_id
        AND c.change = 'lost' AND c.snapshot_date = m.first_missed
    GROUP BY m.relation, m.handle, m.account_id
),
-- An account without ids on one side is known by its handle alone.
named AS (
    SELECT DISTINCT relation, handle, account_handle FROM internal.presences
    WHERE last_seen IS NULL
)
SELECT m.relation, m.handle, m.account_id, m.account_handle, m.first_seen,
    CASE
        WHEN x.is_newer AND (x.shows_it OR x.whole) THEN x.shows_it
        WHEN b.is_there OR x.shows_it THEN true
        WHEN x.whole THEN false
        WHEN n.account_handle IS NOT NULL THEN NULL
        WHEN b.has_left OR (b.account_id IS NULL AND o.whole) THEN false
    END AS is_mutual,
    CASE WHEN b.has_left THEN b.first_missed END AS left_by, o.snapshot_date AS other_day,
    CASE WHEN x.whole THEN x.snapshot_date ELSE o.snapshot_date END AS proved_on
FROM internal.presences AS m
JOIN (VALUES ('followers', 'following'), ('following', 'followers')) AS sides(own, other)
    ON sides.own = m.relation
LEFT JOIN past AS b
    ON b.relation = sides.other AND b.handle = m.handle AND b.account_id = m.account_id
LEFT JOIN named AS n
    ON n.relation = sides.other AND n.handle = m.handle AND n.account_handle = m.account_handle
LEFT JOIN internal.newest_lists AS o ON o.relation = sides.other AND o.handle = m.handle
LEFT JOIN (
    SELECT t.relation, t.handle AS account_handle, h.handle, t.snapshot_date, t.whole,
        o.snapshot_date IS NULL OR t.snapshot_date > o.snapshot_date AS is_newer,
        n.handle IS NOT NULL AS shows_it
    FROM internal.newest_lists AS t
    JOIN (SELECT DISTINCT handle FROM internal.snapshots) AS h ON h.handle <> t.handle
    LEFT JOIN internal.newest_lists AS o ON o.handle = h.handle AND o.relation <> t.relation
    LEFT JOIN named AS n
        ON n.relation = t.relation AND n.handle = t.handle AND n.account_handle = h.handle
    WHERE o.snapshot_date IS NULL OR t.snapshot_date >= o.snapshot_date
) AS x
    ON x.relation = m.relation AND x.handle = m.handle AND x.account_handle = m.account_handle
WHERE m.last_seen IS NULL;

CREATE OR REPLACE VIEW main.not_following_back AS
SELECT s.handle, s.account_id, coalesce(p.account_handle, s.account_handle) AS account_handle,
    p.display_name, p.verified, p.followers, s.first_seen AS followed_since, s.left_by,
    s.proved_on AS newest_list
FROM internal.sides AS s
LEFT JOIN internal.profiles AS p ON p.account_id = s.account_id
WHERE s.relation = 'following' AND NOT s.is_mutual;

CREATE OR REPLACE VIEW main.not_followed_back AS
SELECT s.handle, s.account_id, coalesce(p.account_handle, s.account_handle) AS account_handle,
    p.display_name, p.verified, p.followers, s.first_seen AS follows_since, s.left_by,
    s.proved_on AS newest_list
FROM internal.sides AS s
LEFT JOIN internal.profiles AS p ON p.account_id = s.account_id
WHERE s.relation = 'followers' AND NOT s.is_mutual;

CREATE OR REPLACE VIEW main.follow_back AS
SELECT s.handle, s.relation, count(*) AS listed, l.total AS list_total,
    CASE WHEN l.total > 0 THEN least(1, count(*) / l.total) END AS coverage,
    count(*) FILTER (s.is_mutual) AS mutual, count(*) FILTER (NOT s.is_mutual) AS one_sided,
    count(*) FILTER (s.is_mutual IS NULL) AS unknown,
    CASE WHEN count(s.is_mutual) = count(*) THEN mutual / listed END AS rate,
    mutual / listed AS rate_low, (mutual + unknown) / listed AS rate_high
FROM internal.sides AS s
LEFT JOIN internal.newest_lists AS l ON l.relation = s.relation AND l.handle = s.handle
WHERE s.other_day IS NOT NULL
GROUP BY s.handle, s.relation, l.total;

-- Groups: handles that bear the same tag.

CREATE OR REPLACE VIEW internal.tagged AS
SELECT DISTINCT unnest(tags) AS tag, handle, tracked_since, tracked_until
FROM main.handles WHERE list_contains(relations, 'followers');

CREATE OR REPLACE VIEW main.group_growth AS
SELECT t.tag, d.snapshot_date, count(*) AS handles, count(g.followers_total) AS handles_with_total,
    count(g.followers_total) / count(*) AS coverage,
    CAST(sum(g.followers_total) AS BIGINT) AS followers_total,
    count(g.followers_net) AS handles_with_net, CAST(sum(g.followers_net) AS BIGINT) AS followers_net,
    count(g.followers_gained) AS handles_compared,
    CAST(sum(g.followers_gained) AS BIGINT) AS followers_gained,
    CAST(sum(g.followers_lost) AS BIGINT) AS followers_lost,
    CAST(sum(g.followers_lost_provisional) AS BIGINT) AS followers_lost_provisional,
    CAST(sum(g.followers_unknown) AS BIGINT) AS followers_unknown
FROM (SELECT DISTINCT snapshot_date FROM internal.snapshots WHERE relation = 'followers') AS d
JOIN internal.tagged AS t
    ON t.tracked_since <= d.snapshot_date
    AND (t.tracked_until IS NULL OR t.tracked_until >= d.snapshot_date)
LEFT JOIN main.follower_growth AS g ON g.handle = t.handle AND g.snapshot_date = d.snapshot_date
GROUP BY t.tag, d.snapshot_date;

CREATE OR REPLACE VIEW main.group_reach AS
WITH listed AS (
    SELECT t.tag, m.account_id, count(*) AS lists
    FROM internal.presences AS m
    JOIN internal.tagged AS t ON t.handle = m.handle AND t.tracked_until IS NULL
    WHERE m.relation = 'followers' AND m.last_seen IS NULL
    GROUP BY t.tag, m.account_id
),
reach AS (
    SELECT tag, count(*) AS accounts, count(*) FILTER (lists > 1) AS shared_accounts,
        CAST(sum(lists) AS BIGINT) AS listed
    FROM listed GROUP BY tag
),
members AS (
    SELECT t.tag, count(*) AS handles, count(l.handle) AS handles_listed,
        CASE WHEN count(l.total) = count(*) THEN CAST(sum(l.total) AS BIGINT) END AS followers_total,
        min(l.snapshot_date) AS oldest_list, max(l.snapshot_date) AS newest_list
    FROM internal.tagged AS t
    LEFT JOIN internal.newest_lists AS l ON l.relation = 'followers' AND l.handle = t.handle
    WHERE t.tracked_until IS NULL GROUP BY t.tag
)
SELECT m.tag, m.handles, m.handles_listed, r.accounts, r.shared_accounts,
    r.shared_accounts / r.accounts AS overlap_share, r.listed, m.followers_total,
    CASE WHEN m.followers_total > 0 THEN least(1, coalesce(r.listed, 0) / m.followers_total) END
        AS coverage,
    m.oldest_list, m.newest_list
FROM members AS m
LEFT JOIN reach AS r ON r.tag = m.tag;

-- Medians of those handles that have a rate on the day.
CREATE OR REPLACE VIEW main.group_comparison AS
WITH rates AS (
    SELECT t.tag, t.handle, g.snapshot_date, g.growth_rate,
        CASE WHEN g.followers_total > 0 THEN g.avg_daily_net_28d / g.followers_total END
            AS daily_rate_28d
    FROM internal.tagged AS t
    JOIN main.follower_growth AS g ON g.handle = t.handle
)
SELECT tag, handle, snapshot_date, growth_rate, median(growth_rate) OVER of_day AS median_growth_rate,
    count(growth_rate) OVER of_day AS handles_with_rate, daily_rate_28d,
    median(daily_rate_28d) OVER of_day AS median_daily_rate_28d,
    count(daily_rate_28d) OVER of_day AS handles_with_rate_28d
FROM rates
WINDOW of_day AS (PARTITION BY tag, snapshot_date);

-- Whose profiles they are. Each account has one value of each trait, `unknown` where the list did not
-- show it, so the values of a trait add up to all of the segment.
CREATE OR REPLACE VIEW main.audience_profile AS
WITH changes AS (
    SELECT c.relation, c.handle, c.snapshot_date,
        CASE WHEN c.change = 'lost' THEN 'left' ELSE 'came' END AS segment,
        p.has_picture IS NOT NULL AS is_shown, p
    FROM internal.churn AS c
    LEFT JOIN (
        SELECT *, CAST(snapshot_date AS TIMESTAMPTZ) AS seen_on FROM internal.churn_profiles
    ) AS p
        ON p.relation = c.relation AND p.handle = c.handle AND p.account_id = c.account_id
        AND p.snapshot_date = c.snapshot_date AND p.change = c.change
    WHERE c.state = 'confirmed'
),
sizes AS (
    SELECT relation, handle, snapshot_date, segment, count(*) AS changes,
        count(*) FILTER (is_shown) AS accounts_in_all
    FROM changes GROUP BY ALL
),
counted AS (
    SELECT relation, handle, snapshot_date, segment, t.trait, t."value", count(*) AS accounts
    FROM (
        SELECT relation, handle, snapshot_date, segment, unnest(internal.traits(p)) AS t
        FROM changes WHERE is_shown
    )
    GROUP BY ALL
)
SELECT c.handle, c.relation, c.snapshot_date, c.segment, c.trait, c."value", c.accounts,
    s.accounts_in_all, c.accounts / s.accounts_in_all AS share,
    s.accounts_in_all / s.changes AS coverage
FROM counted AS c
JOIN sizes AS s
    ON s.relation = c.relation AND s.handle = c.handle AND s.snapshot_date = c.snapshot_date
    AND s.segment = c.segment
UNION ALL
SELECT p.handle, p.relation, p.snapshot_date, 'listed', p.trait, p."value", p.accounts,
    CAST(sum(p.accounts) OVER trait AS BIGINT), p.accounts / sum(p.accounts) OVER trait,
    CASE WHEN internal.total_of(s.listed, s.reported_total, s.completeness) > 0
        THEN least(1, sum(p.accounts) OVER trait
            / internal.total_of(s.listed, s.reported_total, s.completeness)) END
FROM internal.profile_counts AS p
JOIN internal.snapshots AS s
    ON s.relation = p.relation AND s.handle = p.handle AND s.snapshot_date = p.snapshot_date
WINDOW trait AS (PARTITION BY p.relation, p.handle, p.snapshot_date, p.trait);
