-- The accounts that a word may mean, the newest seen first: by id, secUid, or current or past handle.
WITH found AS (
    SELECT account_id FROM internal.profiles
    WHERE $word IN (account_id, platform_user_id, sec_uid) OR lower(account_handle) = $handle
    UNION SELECT account_id FROM internal.presences
    WHERE account_id = $word OR lower(account_handle) = $handle
    UNION SELECT account_id FROM internal.renames
    WHERE $handle IN (lower(from_handle), lower(to_handle))
)
SELECT account_id, max(first_seen) AS newest FROM found JOIN internal.presences USING (account_id)
GROUP BY account_id ORDER BY newest DESC, account_id
