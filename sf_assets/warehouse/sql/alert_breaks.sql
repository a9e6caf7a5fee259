-- One row is a list that began a new series since a day, with its total and the total before.
SELECT c.snapshot_date, c.handle, c.relation, c.previous_date, s.reported_total, p.reported_total
FROM internal.comparisons AS c
JOIN internal.snapshots AS s
    ON s.relation = c.relation AND s.handle = c.handle AND s.snapshot_date = c.snapshot_date
JOIN internal.snapshots AS p
    ON p.relation = c.relation AND p.handle = c.handle AND p.snapshot_date = c.previous_date
WHERE c.losses = 'break' AND c.snapshot_date >= CAST($since AS DATE)
ORDER BY ALL
