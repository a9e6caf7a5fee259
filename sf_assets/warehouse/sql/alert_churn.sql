-- One row is one handle-day and direction whose count can be claimed, beside the 28 days before it.
-- Counts are per day: a snapshot after a gap shows the churn of all its days.
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
            -- Read from the top, a list shows later who left below, and then all at once.
            AND NOT coalesce(s.end_reason = 'known', false)
            AND NOT coalesce(p.end_reason = 'known', false)
        UNION ALL
        SELECT 'gained', g.followers_gained WHERE c.gains IN ('front', 'all')
    ) AS u
    WHERE c.previous_date IS NOT NULL AND u.accounts IS NOT NULL
        AND g.snapshot_date >= CAST($since AS DATE) - 28
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
SELECT snapshot_date, handle, previous_date, change, accounts, usual, most, followers_total
FROM beside
WHERE snapshot_date >= $since AND days >= $min_days AND accounts >= $accounts
    AND rate >= $times * usual AND rate > most
ORDER BY snapshot_date, handle, change
