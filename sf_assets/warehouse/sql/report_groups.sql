-- The groups of a report, one row per tag: the newest reach, and the changes since $first.
WITH days AS (
    SELECT tag, CAST(sum(followers_gained) AS BIGINT) AS gained,
        CAST(sum(followers_lost) AS BIGINT) AS lost, arg_max(followers_total, snapshot_date) AS total,
        coalesce(arg_max(handles_with_total, snapshot_date) FILTER (followers_total IS NOT NULL), 0)
            AS handles_with_total
    FROM main.group_growth WHERE snapshot_date >= $first GROUP BY tag
)
SELECT r.tag, r.handles, r.handles_listed, d.total, d.handles_with_total, d.gained, d.lost,
    r.accounts, r.shared_accounts, r.overlap_share, r.coverage
FROM main.group_reach AS r
JOIN days AS d ON d.tag = r.tag
WHERE r.handles > 1 AND ($tags IS NULL OR list_contains($tags, r.tag))
ORDER BY r.handles DESC, r.tag LIMIT 12
