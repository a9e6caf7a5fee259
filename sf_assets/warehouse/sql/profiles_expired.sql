-- The accounts that left every list before a day and have a stored profile. The handle is also removed
-- if the account has another id, its losses are confirmed, and no remaining account has that handle.
-- Otherwise later lists could confuse them.
WITH stays AS (
    SELECT m.account_id, max(coalesce(m.looked_on, m.last_seen)) AS last_seen,
        bool_and(coalesce(c.state = 'confirmed', false)) AS settled
    FROM internal.presences AS m
    LEFT JOIN internal.churn AS c
        ON c.relation = m.relation AND c.handle = m.handle AND c.account_id = m.account_id
        AND c.change = 'lost' AND c.snapshot_date = m.first_missed
    GROUP BY m.account_id HAVING NOT bool_or(m.last_seen IS NULL)
),
gone AS (FROM stays WHERE last_seen <= $gone_since),
borne AS (
    SELECT account_id, lower(account_handle) AS handle FROM internal.presences
    UNION SELECT account_id, lower(account_handle) FROM internal.stored_profiles
    UNION SELECT account_id, unnest([lower(from_handle), lower(to_handle)]) FROM internal.renames
),
kept AS (SELECT handle FROM borne WHERE account_id NOT IN (SELECT account_id FROM gone))
SELECT g.account_id, any_value(internal.sec_uid_of(p.sec_uid_bytes, p.sec_uid_text)) AS sec_uid,
    list(b.handle) FILTER (b.handle IS NOT NULL) AS handles,
    any_value(g.settled) AND NOT starts_with(g.account_id, '@')
        AND NOT bool_or(b.handle IN (FROM kept)) AS nameless,
    any_value(g.last_seen) AS last_seen
FROM gone AS g
JOIN internal.stored_profiles AS p ON p.account_id = g.account_id
JOIN borne AS b ON b.account_id = g.account_id
GROUP BY g.account_id
HAVING bool_or(coalesce(p.display_name, p.bio, p.avatar_url, p.profile_url, p.region, p."language",
        p.details, CAST(p.verified AS VARCHAR), CAST(p.private_account AS VARCHAR),
        CAST(coalesce(p.followers, p.following, p.posts) AS VARCHAR),
        CAST(p.account_created_at AS VARCHAR)) IS NOT NULL)
    OR (nameless AND NOT bool_and(coalesce(starts_with(b.handle, 'anon-'), true)))
