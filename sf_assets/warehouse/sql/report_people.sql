-- The stays, in lists of $handles, of the $most accounts with the newest changes since $first: one row
-- per stay, the newest change first.
WITH changed AS (
    SELECT account_id, max(snapshot_date) AS newest FROM internal.churn
    WHERE state <> 'retracted' AND snapshot_date >= $first AND list_contains($handles, handle)
    GROUP BY account_id
),
shown AS MATERIALIZED (
    SELECT account_id, newest, count(*) OVER () AS accounts FROM changed
    ORDER BY newest DESC, account_id LIMIT $most
),
renamed AS (
    SELECT account_id, list(DISTINCT from_handle ORDER BY from_handle) AS earlier_handles
    FROM internal.renames GROUP BY account_id
)
SELECT s.accounts, h.account_id, h.account_handle, h.display_name, h.relation, h.handle,
    h.start_kind, h.began_after, h.began_before, h.end_kind, h.end_state, h.ended_after,
    h.ended_before, h.last_seen,
    r.earlier_handles
FROM shown AS s
JOIN main.account_history AS h ON h.account_id = s.account_id
LEFT JOIN renamed AS r ON r.account_id = s.account_id
WHERE list_contains($handles, h.handle)
ORDER BY s.newest DESC, h.account_id, h.first_seen
