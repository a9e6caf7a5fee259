-- Events of a handle, notes of the operator, and the retention of followers gained on their days.

-- One row is one handle-day and direction with proved changes, compared with the 28 days before. Counts
-- are per day, because a snapshot after a gap shows the churn of several days.
CREATE OR REPLACE VIEW internal.spikes AS
WITH figures AS (
    SELECT g.handle, g.snapshot_date, c.previous_date, g.followers_total, u.change, u.accounts,
        u.accounts / (g.snapshot_date - c.previous_date) AS rate
    FROM main.follower_growth AS g
    JOIN main.comparisons AS c
        ON c.relation = 'followers' AND c.handle = g.handle AND c.snapshot_date = g.snapshot_date
    JOIN main.follower_snapshots AS s
        ON s.handle = g.handle AND s.snapshot_date = g.snapshot_date
    LEFT JOIN main.follower_snapshots AS p
        ON p.handle = g.handle AND p.snapshot_date = c.previous_date
    CROSS JOIN LATERAL (
        SELECT 'lost' AS change, g.followers_lost AS accounts
        WHERE c.losses IN ('all', 'window')
            -- The next full read of a `recent` list shows all losses below the part that was read.
            AND NOT coalesce(s.end_reason = 'known', false)
            AND NOT coalesce(p.end_reason = 'known', false)
        UNION ALL
        SELECT 'gained', g.followers_gained WHERE c.gains IN ('front', 'all')
    ) AS u
    WHERE c.previous_date IS NOT NULL AND u.accounts IS NOT NULL
),
beside AS (
    SELECT *, median(rate) OVER past AS usual, max(rate) OVER past AS most,
        count(*) OVER past AS days
    FROM figures
    WINDOW past AS (
        PARTITION BY handle, change ORDER BY snapshot_date
        RANGE BETWEEN INTERVAL 28 DAYS PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
)
SELECT * FROM beside;

-- The largest round number that a total has reached: 100, 200, 500, 1,000 …
CREATE OR REPLACE MACRO internal.round_below(total) AS
CASE WHEN total >= 100 THEN CAST(
    10 ** floor(log10(total)) * CASE
        WHEN total >= 5 * 10 ** floor(log10(total)) THEN 5
        WHEN total >= 2 * 10 ** floor(log10(total)) THEN 2 ELSE 1 END
AS BIGINT) END;

CREATE OR REPLACE VIEW main.events AS
WITH large AS (
    SELECT s.handle, s.snapshot_date, s.previous_date, s.accounts, s.usual, g.followers_total,
        g.followers_net, CASE WHEN s.change = 'lost' THEN 'purge' ELSE 'wave' END AS kind,
        CASE WHEN s.change = 'lost' THEN 'left' ELSE 'came' END AS segment
    FROM internal.spikes AS s
    JOIN main.follower_growth AS g
        ON g.handle = s.handle AND g.snapshot_date = s.snapshot_date
    WHERE s.days >= 7 AND s.accounts >= 20 AND s.rate >= 3 * s.usual AND s.rate > s.most
        -- For a purge, the total must fall as well.
        AND (s.change = 'gained' OR g.followers_gained - g.followers_net >= 0.8 * s.accounts)
),
-- The trait in which the accounts that came or left differ most from all listed accounts.
alike AS (
    SELECT l.handle, l.snapshot_date, l.segment, arg_max(
        {'trait': p.trait, 'value': p."value", 'share': p.share, 'among': coalesce(a.share, 0)},
        p.share - coalesce(a.share, 0)
    ) AS most
    FROM large AS l
    JOIN main.audience_profile AS p
        ON p.handle = l.handle AND p.snapshot_date = l.snapshot_date AND p.segment = l.segment
        AND p.relation = 'followers' AND p."value" <> 'unknown'
    LEFT JOIN main.audience_profile AS a
        ON a.handle = p.handle AND a.snapshot_date = p.snapshot_date AND a.relation = 'followers'
        AND a.segment = 'listed' AND a.trait = p.trait AND a."value" = p."value"
    GROUP BY l.handle, l.snapshot_date, l.segment
),
totals AS (
    SELECT handle, snapshot_date, followers_total, followers_net, gap_days,
        max(followers_total) OVER (
            PARTITION BY handle ORDER BY snapshot_date
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS most_before
    FROM main.follower_growth
)
SELECT l.handle, l.snapshot_date, l.previous_date, l.kind, l.accounts, l.usual AS usual_a_day,
    l.followers_net, l.followers_total, CAST(NULL AS BIGINT) AS milestone,
    a.most.trait AS alike_in, a.most."value" AS alike_value, a.most.share AS alike_share,
    a.most.among AS alike_share_listed
FROM large AS l
LEFT JOIN alike AS a
    ON a.handle = l.handle AND a.snapshot_date = l.snapshot_date AND a.segment = l.segment
UNION ALL
SELECT handle, snapshot_date, snapshot_date - gap_days - 1, 'milestone', NULL, NULL, followers_net,
    followers_total, internal.round_below(followers_total), NULL, NULL, NULL, NULL
FROM totals
WHERE internal.round_below(followers_total) > most_before AND followers_net IS NOT NULL;

-- The days of an annotation, for each of its handles.
CREATE OR REPLACE VIEW internal.annotated AS
SELECT a.annotation, a.first_day, a.last_day, h.handle
FROM main.annotations AS a
JOIN main.handles AS h
    ON coalesce(h.handle = a.handle, a.tag IS NULL OR list_contains(h.tags, a.tag));

-- The followers gained on the days of an annotation, and the other gains since 28 days before it: the
-- Kaplan-Meier estimate, as in weekly_retention, 7, 14 … days after each gain.
CREATE OR REPLACE VIEW main.annotation_retention AS
WITH timed AS (
    SELECT a.annotation, f.first_seen BETWEEN a.first_day AND a.last_day AS of_these_days,
        f.seen_for, f.lost_after, f.newest_day - f.first_seen AS looked_for
    FROM internal.annotated AS a
    JOIN internal.newcomers AS f ON f.handle = a.handle AND f.first_seen >= a.first_day - 28
),
steps AS (
    SELECT annotation, of_these_days, coalesce(lost_after, seen_for) AS days,
        count(lost_after) AS events,
        sum(count(*)) OVER (PARTITION BY annotation, of_these_days ORDER BY days DESC) AS at_risk
    FROM timed GROUP BY annotation, of_these_days, days
),
curve AS (
    SELECT annotation, of_these_days, days, product(1 - events / at_risk) OVER (
        PARTITION BY annotation, of_these_days ORDER BY days
    ) AS survival
    FROM steps WHERE events > 0
),
weeks AS (
    SELECT t.annotation, t.of_these_days, w.days_after, count(*) AS gained,
        count(*) FILTER (t.seen_for >= w.days_after) AS still_listed,
        count(*) FILTER (t.lost_after <= w.days_after) AS lost,
        count(*) FILTER (coalesce(t.lost_after, t.seen_for) >= w.days_after) AS at_risk
    FROM timed AS t
    JOIN (SELECT CAST(unnest(range(7, 92, 7)) AS INTEGER) AS days_after) AS w
        ON w.days_after <= t.looked_for
    GROUP BY t.annotation, t.of_these_days, w.days_after
)
SELECT w.annotation, w.of_these_days, w.days_after, w.gained, w.still_listed, w.lost,
    w.gained - w.still_listed - w.lost AS unknown, w.at_risk,
    CASE WHEN w.still_listed > 0 OR w.lost = w.gained THEN coalesce(c.survival, 1) END
        AS retention
FROM weeks AS w
ASOF LEFT JOIN curve AS c
    ON c.annotation = w.annotation AND c.of_these_days = w.of_these_days AND c.days <= w.days_after;
