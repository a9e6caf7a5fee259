-- One row is one usable snapshot of a series in `chunk_series` that was compared, in order.
SELECT n.series, s.snapshot_date - DATE '1970-01-01' AS day, s.listed, s.reported_total,
    s.exhaustive, s.completeness = 'complete' AS complete, s.end_reason = 'known' AS until_known,
    c.order_agreement AS agreement, c.reach, coalesce(c.unnamed, 0) AS unnamed,
    coalesce(g.gained, 0) AS gained, coalesce(s.ordered, true) AS ordered
FROM internal.comparisons AS c
JOIN begun AS n
    ON n.relation = c.relation AND n.handle = c.handle AND c.snapshot_date >= n.begun
JOIN internal.snapshots AS s
    ON s.relation = c.relation AND s.handle = c.handle AND s.snapshot_date = c.snapshot_date
LEFT JOIN (
    SELECT relation, handle, snapshot_date, count(*) AS gained
    FROM internal.churn WHERE change IN ('gained', 'returned') GROUP BY ALL
) AS g ON g.relation = c.relation AND g.handle = c.handle AND g.snapshot_date = c.snapshot_date
WHERE c.losses NOT IN ('unusable')
ORDER BY n.series, s.snapshot_date
