-- One row is one list of `wanted`: its newest accounts before the day, top first. Pages of the same day
-- do not count, because the attempt continues them.
WITH stood AS (
    SELECT w.relation, w.handle, max(c.snapshot_date) AS snapshot_date
    FROM wanted AS w
    JOIN internal.comparisons AS c
        ON c.relation = w.relation AND c.handle = w.handle AND c.snapshot_date < w.day
    WHERE c.losses <> 'unusable'
    GROUP BY w.relation, w.handle
)
SELECT relation, handle, list(account_id ORDER BY place DESC) AS account_ids,
    list(account_handle ORDER BY place DESC) AS account_handles
FROM (
    SELECT m.relation, m.handle, m.account_id, m.account_handle, m.place
    FROM internal.presences AS m
    JOIN stood AS s ON s.relation = m.relation AND s.handle = m.handle
    WHERE m.first_seen <= s.snapshot_date
        AND (m.last_seen IS NULL OR m.last_seen >= s.snapshot_date)
        AND m.place IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY m.relation, m.handle ORDER BY m.place DESC) <= $most
)
GROUP BY relation, handle
