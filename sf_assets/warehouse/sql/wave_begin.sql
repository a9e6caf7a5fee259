-- `wave_in` are the snapshots of a wave -> `wave`: those that can be compared, each with the latest
-- earlier one that could. What cannot be compared is noted as such at once.

DELETE FROM internal.comparisons USING wave_in AS w
WHERE comparisons.relation = w.relation AND comparisons.handle = w.handle
    AND comparisons.snapshot_date = w.snapshot_date;

INSERT INTO internal.comparisons
SELECT relation, handle, snapshot_date, attempt, pages, NULL, NULL, NULL, NULL,
    'unusable', 'unusable',
    CASE WHEN lookup_status = 'found' THEN 'nobody listed although the total is not 0'
        ELSE lookup_status END
FROM wave_in WHERE NOT comparable;

CREATE OR REPLACE TEMP TABLE wave AS
SELECT w.*, p.snapshot_date AS previous_date, p.completeness AS previous_completeness,
    p.listed AS previous_listed, p.reported_total AS previous_total,
    p.order_agreement AS previous_agreement
FROM wave_in AS w
LEFT JOIN (
    SELECT s.relation, s.handle, s.snapshot_date, s.completeness, s.listed, s.reported_total,
        c.order_agreement
    FROM internal.snapshots AS s
    JOIN internal.comparisons AS c USING (relation, handle, snapshot_date)
    JOIN wave_in AS w ON w.relation = s.relation AND w.handle = s.handle
    WHERE c.losses <> 'unusable' AND s.snapshot_date < w.snapshot_date
    QUALIFY row_number() OVER (
        PARTITION BY s.relation, s.handle ORDER BY s.snapshot_date DESC
    ) = 1
) AS p ON p.relation = w.relation AND p.handle = w.handle
WHERE w.comparable;
