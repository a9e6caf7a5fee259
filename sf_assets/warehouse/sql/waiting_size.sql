-- One row: how many accounts are compared at a time at most. The parameter is how many are compared
-- together.
SELECT coalesce(max(greatest(least(accounts, ?), longest)), 0)
FROM (
    SELECT sum(s.listed) AS accounts, max(s.listed) AS longest
    FROM internal.snapshots AS s
    SEMI JOIN internal.waiting AS w ON w.relation = s.relation AND w.handle = s.handle
    GROUP BY s.snapshot_date
);
