-- One row is one list of `wanted`: its newest accounts as it was last known, top first.
SELECT relation, handle, list(account_id ORDER BY place DESC) AS account_ids,
    list(account_handle ORDER BY place DESC) AS account_handles
FROM (
    SELECT m.relation, m.handle, m.account_id, m.account_handle, m.place
    FROM internal.presences AS m
    SEMI JOIN wanted AS w ON w.relation = m.relation AND w.handle = m.handle
    WHERE m.last_seen IS NULL AND m.place IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY m.relation, m.handle ORDER BY m.place DESC) <= $most
)
GROUP BY relation, handle
