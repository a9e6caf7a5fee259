-- `wave_in` are the snapshots of a wave -> `wave`: those that can be compared, each with the latest
-- earlier one that could. What cannot be compared is noted as such at once.

DELETE FROM internal.comparisons USING wave_in AS w
WHERE comparisons.relation = w.relation AND comparisons.handle = w.handle
    AND comparisons.snapshot_date = w.snapshot_date;

INSERT INTO internal.comparisons
SELECT relation, handle, snapshot_date, attempt, pages, NULL, NULL, NULL, NULL,
    'unusable', 'unusable',
    CASE WHEN lookup_status = 'found' THEN 'nobody listed although the total is not 0'
        ELSE lookup_status END,
    NULL
FROM wave_in WHERE NOT comparable;

CREATE OR REPLACE TEMP TABLE wave AS
SELECT w.*, p.snapshot_date AS previous_date, p.completeness AS previous_completeness,
    p.listed AS previous_listed, p.reported_total AS previous_total,
    p.order_agreement AS previous_agreement, p.reach AS previous_reach
FROM wave_in AS w
LEFT JOIN (
    SELECT s.relation, s.handle, s.snapshot_date, s.completeness, s.listed, s.reported_total,
        c.order_agreement, c.reach
    FROM internal.snapshots AS s
    JOIN internal.comparisons AS c USING (relation, handle, snapshot_date)
    JOIN wave_in AS w ON w.relation = s.relation AND w.handle = s.handle
    WHERE c.losses <> 'unusable' AND s.snapshot_date < w.snapshot_date
    QUALIFY row_number() OVER (
        PARTITION BY s.relation, s.handle ORDER BY s.snapshot_date DESC
    ) = 1
) AS p ON p.relation = w.relation AND p.handle = w.handle
WHERE w.comparable;

-- One row is one earlier reading of a series whose latest one stopped at what is known, back to the
-- last that did not, and the place down to which it went.
CREATE OR REPLACE TEMP TABLE wave_looks AS
SELECT w.series, c.snapshot_date, coalesce(c.reach, CAST('-infinity' AS DOUBLE)) AS reach
FROM wave AS w
JOIN internal.comparisons AS c
    ON c.relation = w.relation AND c.handle = w.handle AND c.snapshot_date < w.snapshot_date
WHERE w.previous_reach IS NOT NULL AND c.losses <> 'unusable'
QUALIFY c.snapshot_date >= max(c.snapshot_date) FILTER (c.reach IS NULL)
    OVER (PARTITION BY w.series);
