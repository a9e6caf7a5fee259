-- Note what was compared; from here on these snapshots count as derived.
INSERT INTO internal.comparisons
SELECT w.relation, w.handle, w.snapshot_date, w.attempt, w.pages, w.previous_date,
    CASE WHEN w.previous_date IS NOT NULL THEN j.common END,
    CASE WHEN w.previous_date IS NOT NULL THEN j.chain END,
    CASE WHEN j.common > 0 THEN j.chain / j.common END,
    j.losses, j.gains, j.reason,
    -- The first reading of all is what there is to go by, however deep it went.
    CASE WHEN w.until_known AND w.previous_date IS NOT NULL
        THEN CASE WHEN j.losses = 'window' THEN j.horizon ELSE CAST('infinity' AS DOUBLE) END END
FROM wave AS w
JOIN judged AS j USING (series)
ORDER BY w.series;
