-- One row is one account of a series that was derived before a list was loaded which may decide
-- something about it: the account is a tracked profile, it was missing that day, and this is its list.
-- decides: whatever it shows; otherwise only where it does not show the tracked handle.
WITH bearers AS (
    SELECT relation, handle, account_id, account_handle FROM internal.presences
    WHERE account_handle IN (SELECT handle FROM internal.waiting)
    UNION
    SELECT relation, handle, account_id, unnest([from_handle, to_handle]) FROM internal.renames
),
-- The list, and what is known of the account on its day.
missing AS (
    SELECT b.relation, b.handle, b.account_id, s.handle AS other_handle,
        s.relation AS other_relation, s.snapshot_date, s.attempt, s.exhaustive, s.archive_file,
        m.last_seen, m.end_kind, m.first_missed, h.missed_from IS NOT NULL AS healed,
        EXISTS (
            FROM internal.comparisons AS c
            WHERE c.relation = s.relation AND c.handle = s.handle
                AND c.snapshot_date = s.snapshot_date
        ) AS read_before
    FROM internal.waiting AS s
    JOIN bearers AS b
        ON b.account_handle = s.handle AND b.relation <> s.relation AND b.handle <> s.handle
    JOIN internal.presences AS m
        ON m.relation = b.relation AND m.handle = b.handle AND m.account_id = b.account_id
        AND m.first_seen <= s.snapshot_date
    LEFT JOIN internal.retractions AS h
        ON h.relation = b.relation AND h.handle = b.handle AND h.account_id = b.account_id
        AND s.snapshot_date BETWEEN h.missed_from AND h.missed_to
    WHERE s.lookup_status = 'found'
    QUALIFY row_number() OVER (
        PARTITION BY b.relation, b.handle, b.account_id, s.handle, s.snapshot_date
        ORDER BY m.first_seen DESC, healed DESC
    ) = 1
)
SELECT m.relation, m.handle, m.other_handle, m.other_relation, m.snapshot_date, m.attempt,
    m.exhaustive, m.archive_file,
    m.healed OR m.read_before OR m.end_kind = 'lost' OR m.snapshot_date < d.last_date AS decides
FROM missing AS m
JOIN internal.comparisons AS c
    ON c.relation = m.relation AND c.handle = m.handle AND c.snapshot_date = m.snapshot_date
JOIN (
    SELECT relation, handle, max(snapshot_date) AS last_date FROM internal.comparisons GROUP BY ALL
) AS d ON d.relation = m.relation AND d.handle = m.handle
WHERE c.losses <> 'unusable' AND (m.last_seen < m.snapshot_date OR m.healed)
    -- What is confirmed already stays so.
    AND NOT EXISTS (
        FROM internal.churn AS l
        WHERE l.relation = m.relation AND l.handle = m.handle AND l.account_id = m.account_id
            AND l.change = 'lost' AND l.snapshot_date = m.first_missed
            AND l.state = 'confirmed' AND l.confirmed_on < m.snapshot_date AND NOT m.healed
    )
ORDER BY ALL
