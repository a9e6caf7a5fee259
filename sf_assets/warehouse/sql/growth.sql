-- Derive follower_growth of the handles in `touched`: one row is one handle-day. Only changed rows are
-- written, because in a lake each written row makes files and versions.

CREATE OR REPLACE TEMP TABLE grown AS SELECT * FROM main.follower_growth LIMIT 0;

INSERT INTO grown (
    handle, snapshot_date, followers_total, following_total, followers_net, followers_gained,
    followers_lost, followers_lost_provisional, followers_unknown, net_unexplained, growth_rate,
    avg_daily_net_7d, avg_daily_net_28d, gap_days, completeness, followers_lost_estimate
)
WITH days AS (
    SELECT handle, snapshot_date FROM internal.snapshots SEMI JOIN touched USING (handle)
    GROUP BY ALL
),
totals AS (
    SELECT d.handle, d.snapshot_date, f.completeness,
        CASE WHEN c.losses <> 'break' THEN c.previous_date END AS previous_date,
        -- Days before a break belong to another person.
        count(*) FILTER (c.losses = 'break') OVER (
            PARTITION BY d.handle ORDER BY d.snapshot_date
        ) AS series,
        internal.total_of(p.listed, p.reported_total, p.completeness) AS compared_total,
        internal.total_of(f.listed, f.reported_total, f.completeness) AS followers_total,
        internal.total_of(g.listed, g.reported_total, g.completeness) AS following_total
    FROM days AS d
    LEFT JOIN internal.snapshots AS f
        ON f.handle = d.handle AND f.snapshot_date = d.snapshot_date AND f.relation = 'followers'
    LEFT JOIN internal.snapshots AS g
        ON g.handle = d.handle AND g.snapshot_date = d.snapshot_date AND g.relation = 'following'
    LEFT JOIN internal.comparisons AS c
        ON c.handle = d.handle AND c.snapshot_date = d.snapshot_date AND c.relation = 'followers'
    LEFT JOIN internal.snapshots AS p
        ON p.handle = c.handle AND p.snapshot_date = c.previous_date AND p.relation = 'followers'
),
-- Averages look back by days, not by rows: gaps are normal.
changes AS (
    SELECT *,
        followers_total - lag(followers_total IGNORE NULLS) OVER past AS followers_net,
        lag(followers_total IGNORE NULLS) OVER past AS total_before,
        CASE WHEN followers_total IS NOT NULL THEN snapshot_date
            - lag(CASE WHEN followers_total IS NOT NULL THEN snapshot_date END IGNORE NULLS)
                OVER past - 1 END AS gap_days,
        first_value(followers_total IGNORE NULLS) OVER week AS total_7d,
        first_value(CASE WHEN followers_total IS NOT NULL THEN snapshot_date END IGNORE NULLS)
            OVER week AS date_7d,
        first_value(followers_total IGNORE NULLS) OVER month AS total_28d,
        first_value(CASE WHEN followers_total IS NOT NULL THEN snapshot_date END IGNORE NULLS)
            OVER month AS date_28d
    FROM totals
    WINDOW past AS (PARTITION BY handle, series ORDER BY snapshot_date),
        week AS (PARTITION BY handle, series ORDER BY snapshot_date
            RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW),
        month AS (PARTITION BY handle, series ORDER BY snapshot_date
            RANGE BETWEEN INTERVAL 28 DAYS PRECEDING AND CURRENT ROW)
),
claimed AS (
    SELECT handle, snapshot_date,
        count(*) FILTER (change IN ('gained', 'returned')) AS gained,
        count(*) FILTER (change = 'lost' AND state = 'confirmed') AS lost,
        count(*) FILTER (change = 'lost' AND state = 'provisional') AS lost_provisional
    FROM internal.churn SEMI JOIN touched USING (handle)
    WHERE relation = 'followers' GROUP BY ALL
),
revealed AS (
    SELECT handle, first_seen AS snapshot_date, count(*) AS accounts
    FROM internal.presences SEMI JOIN touched USING (handle)
    WHERE relation = 'followers' AND start_kind = 'revealed' GROUP BY ALL
),
beyond AS (
    SELECT handle, last_seen AS previous_date, count(*) AS accounts
    FROM internal.presences SEMI JOIN touched USING (handle)
    WHERE relation = 'followers' AND end_kind = 'beyond' GROUP BY ALL
)
SELECT t.handle, t.snapshot_date, t.followers_total, t.following_total, t.followers_net,
    CASE WHEN compared THEN coalesce(c.gained, 0) END,
    CASE WHEN compared THEN coalesce(c.lost, 0) END,
    CASE WHEN compared THEN coalesce(c.lost_provisional, 0) END,
    CASE WHEN compared THEN coalesce(r.accounts, 0) + coalesce(b.accounts, 0) END,
    CASE WHEN compared
        THEN t.followers_total - t.compared_total - (
            coalesce(c.gained, 0) - coalesce(c.lost, 0) - coalesce(c.lost_provisional, 0)
        ) END,
    CASE WHEN t.total_before > 0 THEN t.followers_net / t.total_before END,
    CASE WHEN t.followers_total IS NOT NULL AND t.date_7d < t.snapshot_date
        THEN (t.followers_total - t.total_7d) / (t.snapshot_date - t.date_7d) END,
    CASE WHEN t.followers_total IS NOT NULL AND t.date_28d < t.snapshot_date
        THEN (t.followers_total - t.total_28d) / (t.snapshot_date - t.date_28d) END,
    t.gap_days, t.completeness,
    -- Gains are visible every day, losses only as deep as the list was read.
    CASE WHEN compared AND t.followers_total IS NOT NULL AND t.compared_total IS NOT NULL
        THEN greatest(0, coalesce(c.gained, 0) - t.followers_total + t.compared_total) END
FROM (SELECT *, previous_date IS NOT NULL AS compared FROM changes) AS t
LEFT JOIN claimed AS c ON c.handle = t.handle AND c.snapshot_date = t.snapshot_date
LEFT JOIN revealed AS r
    ON r.handle = t.handle AND r.snapshot_date = t.snapshot_date AND t.compared
LEFT JOIN beyond AS b ON b.handle = t.handle AND b.previous_date = t.previous_date;

DELETE FROM main.follower_growth USING (
    SELECT f.* FROM main.follower_growth AS f SEMI JOIN touched USING (handle)
    EXCEPT SELECT * FROM grown
) AS old
WHERE follower_growth.handle = old.handle AND follower_growth.snapshot_date = old.snapshot_date;

INSERT INTO main.follower_growth BY NAME
SELECT g.* FROM grown AS g ANTI JOIN main.follower_growth AS f
    ON f.handle = g.handle AND f.snapshot_date = g.snapshot_date
ORDER BY g.handle, g.snapshot_date;

DROP TABLE grown;
