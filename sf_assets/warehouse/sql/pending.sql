-- The series (one relation of one handle) with snapshots that are not derived yet, and whether they can
-- continue or must be replayed from their first day.

CREATE OR REPLACE TEMP TABLE pending_series AS
SELECT s.relation, s.handle, min(s.snapshot_date) AS first_date, count(*) AS days,
    coalesce(min(s.snapshot_date) <= any_value(done.last_date), false) AS replay
FROM internal.waiting AS s
LEFT JOIN (
    SELECT relation, handle, max(snapshot_date) AS last_date
    FROM internal.comparisons WHERE losses <> 'unusable' GROUP BY ALL
) AS done ON done.relation = s.relation AND done.handle = s.handle
GROUP BY s.relation, s.handle;
