-- One row is a list with snapshots before a day, and what reading it cost, by depth. A status that was
-- requested twice costs a credit more than its pages; the pages count.
WITH past AS (
    SELECT s.*, row_number() OVER (PARTITION BY relation, handle ORDER BY snapshot_date DESC) AS back
    FROM internal.snapshots AS s
    WHERE snapshot_date < $day AND source = 'api'
),
-- Gains per day in the last 28 days: how much of the top of a list is new.
came AS (
    SELECT relation, handle, count(*) AS gained FROM internal.churn
    WHERE change IN ('gained', 'returned') AND snapshot_date BETWEEN $day - 28 AND $day - 1
    GROUP BY ALL
),
kept AS (
    SELECT relation, handle, arg_max(order_agreement, snapshot_date) AS order_agreement
    FROM internal.comparisons SEMI JOIN past USING (relation, handle, snapshot_date)
    WHERE common > 0
    GROUP BY ALL
)
SELECT p.relation, p.handle, max(p.snapshot_date) AS last_date,
    max(p.snapshot_date) FILTER (p.lookup_status = 'found' AND p.end_reason <> 'known') AS whole_date,
    arg_max(p.lookup_status, p.snapshot_date) AS status,
    arg_max(p.pages, p.snapshot_date) FILTER (p.end_reason IN ('exhausted', 'stalled')) AS whole,
    arg_max(p.pages, p.snapshot_date) FILTER (p.end_reason = 'known') AS top,
    max(p.pages) FILTER (p.lookup_status = 'found') AS most,
    arg_max(p.reported_total, p.snapshot_date) AS total,
    coalesce(
        max_by(p.listed / p.pages, p.snapshot_date)
            FILTER (p.lookup_status = 'found' AND p.listed > 0),
        -- For a list that was never open: the value of the others.
        (SELECT median(page_size) FROM main.api_measures WHERE snapshot_date >= $day - 28)
    ) AS page_size,
    any_value(c.gained) / greatest(1, least(28, $day - min(p.snapshot_date))) AS gained_a_day,
    any_value(o.order_agreement) AS order_agreement
FROM past AS p
LEFT JOIN came AS c USING (relation, handle)
LEFT JOIN kept AS o USING (relation, handle)
GROUP BY p.relation, p.handle;
