-- One row is one list of a sample: which, and how many accounts it listed. The parameter is how many.
SELECT s.relation, s.handle, s.snapshot_date, s.listed
FROM internal.snapshots AS s
SEMI JOIN internal.comparisons AS c
    ON c.relation = s.relation AND c.handle = s.handle AND c.snapshot_date = s.snapshot_date
    AND c.attempt = s.attempt AND c.pages = s.pages
WHERE s.listed > 0 AND s.end_reason NOT IN ('known', 'partial')
ORDER BY random() LIMIT ?
