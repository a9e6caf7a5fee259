-- One row is one list with profiles to count: compared and not counted yet, or the last list before a
-- loss without a stored profile. Imported files are excluded: their profiles are not of that day.
SELECT s.archive_file, s.relation, s.handle, s.snapshot_date, s.attempt, s.listed,
    bool_or(w.counted) AS counted
FROM (
    SELECT c.relation, c.handle, c.snapshot_date, true AS counted
    FROM internal.comparisons AS c
    ANTI JOIN internal.profile_counts AS p
        ON p.relation = c.relation AND p.handle = c.handle AND p.snapshot_date = c.snapshot_date
    WHERE c.losses <> 'unusable'
    UNION ALL
    SELECT c.relation, c.handle,
        CASE WHEN c.change = 'lost' THEN c.previous_date ELSE c.snapshot_date END, false
    FROM internal.churn AS c
    ANTI JOIN internal.churn_profiles AS p
        ON p.relation = c.relation AND p.handle = c.handle AND p.account_id = c.account_id
        AND p.snapshot_date = c.snapshot_date AND p.change = c.change
) AS w
JOIN internal.snapshots AS s
    ON s.relation = w.relation AND s.handle = w.handle AND s.snapshot_date = w.snapshot_date
WHERE s.listed > 0 AND s.source = 'api'
GROUP BY ALL ORDER BY s.archive_file, s.relation, s.handle, s.snapshot_date
