-- One row is a measure of the API that left its range of the 28 days before in many lists at once, on a
-- day since $since: the number of these lists and of all, the value before and now (their medians).
-- With fewer than 7 days before, order and ids are compared with what the rules need.
WITH allowed (measure, slack, factor, alone, low, high) AS (
    VALUES ('page_size', 1.0, 0.05, true, NULL, NULL),
        ('without_number', 0.1, 0.0, true, NULL, 0.5),
        ('without_sec_uid', 0.1, 0.0, true, NULL, NULL),
        ('repeated', 0.1, 0.0, false, NULL, NULL),
        ('fields', 0.5, 0.0, true, NULL, NULL),
        ('new_fields', 0.5, 0.0, true, NULL, NULL),
        ('damaged_fields', 0.02, 0.0, true, NULL, NULL),
        ('cached', 0.2, 0.0, true, NULL, NULL),
        ('retries', 0.3, 0.0, false, NULL, NULL),
        ('seconds', 5.0, 2.0, false, NULL, NULL),
        ('total_change', 0.25, 0.0, false, NULL, NULL),
        ('order_agreement', 0.1, 0.0, false, 0.9, NULL)
),
measured AS (
    UNPIVOT (
        SELECT * EXCLUDE (troubles) REPLACE (CAST(page_size AS DOUBLE) AS page_size)
        FROM main.api_measures WHERE snapshot_date >= CAST($since AS DATE) - 28
    )
    ON COLUMNS(* EXCLUDE (relation, handle, snapshot_date))
    INTO NAME measure VALUE now
),
beside AS (
    SELECT *, count(*) OVER past AS days, min(now) OVER past AS least, max(now) OVER past AS most
    FROM measured
    WINDOW past AS (
        PARTITION BY relation, handle, measure ORDER BY snapshot_date
        RANGE BETWEEN INTERVAL 28 DAYS PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
),
judged AS (
    SELECT b.*, a.alone, CASE
        WHEN b.days < 7 THEN coalesce(b.now > a.high, false) OR coalesce(b.now < a.low, false)
        ELSE b.now > b.most + a.slack + a.factor * b.most
            OR b.now < b.least - a.slack - a.factor * b.least END AS is_out,
        b.days >= 7 OR a.high IS NOT NULL OR a.low IS NOT NULL AS is_judged
    FROM beside AS b JOIN allowed AS a ON a.measure = b.measure
    WHERE b.snapshot_date >= CAST($since AS DATE)
)
SELECT snapshot_date, measure, count(*) FILTER (is_out) AS lists_out, count(*) AS lists,
    median((least + most) / 2) FILTER (is_out) AS was, median(now) FILTER (is_out) AS now
FROM judged WHERE is_judged
GROUP BY snapshot_date, measure
-- A single handle may have changed itself, except for measures that no handle can change.
HAVING lists_out >= 0.5 * lists
    AND (count(DISTINCT handle) FILTER (is_out) >= 3 OR (any_value(alone) AND lists_out = lists))
ORDER BY snapshot_date, measure
