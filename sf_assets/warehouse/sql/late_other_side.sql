-- One row is one series that was derived before a list was loaded which may decide something about one
-- of its accounts: the account is a tracked profile, it was missing that day, and this is its list.
SELECT DISTINCT m.relation, m.handle
FROM internal.snapshots AS s
ANTI JOIN internal.comparisons AS done
    ON done.relation = s.relation AND done.handle = s.handle
    AND done.snapshot_date = s.snapshot_date AND done.attempt = s.attempt
    AND done.pages = s.pages
JOIN internal.presences AS m ON m.account_handle = s.handle AND m.relation <> s.relation
JOIN internal.comparisons AS c
    ON c.relation = m.relation AND c.handle = m.handle AND c.snapshot_date = s.snapshot_date
WHERE s.lookup_status = 'found' AND m.handle <> s.handle
    AND m.last_seen < s.snapshot_date
    AND (m.end_kind = 'beyond' OR m.first_missed >= s.snapshot_date
        OR EXISTS (
            FROM internal.churn AS l
            WHERE l.relation = m.relation AND l.handle = m.handle
                AND l.account_id = m.account_id AND l.state = 'provisional'
        ))
