-- One row: the first and last day with snapshots that are not derived, and a name for them that stays
-- the same until more is loaded. NULL if nothing is pending.
SELECT min(s.snapshot_date), max(s.snapshot_date),
    concat_ws('/', min(s.snapshot_date), max(s.snapshot_date), count(*),
        strftime(max(s.finished_at) AT TIME ZONE 'UTC', '%Y%m%dT%H%M%S%g'))
FROM internal.snapshots AS s
ANTI JOIN internal.comparisons AS c
    ON c.relation = s.relation AND c.handle = s.handle AND c.snapshot_date = s.snapshot_date
    AND c.attempt = s.attempt AND c.pages = s.pages
