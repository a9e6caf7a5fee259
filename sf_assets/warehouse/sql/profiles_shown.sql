-- One row is one account of the lists in `to_count`, with what is counted of its profile.
SELECT c.relation, c.handle, c.snapshot_date, c.counted, lower(p.account_handle) AS account_handle,
    valid_number(p.platform_user_id) AS number, p.verified, p.private_account,
    -- Of a tombstone, which has nothing but ids, nobody can tell.
    CASE WHEN has_profile THEN coalesce(p.avatar_url, '') <> '' END AS has_picture,
    CASE WHEN has_profile THEN coalesce(trim(p.bio), '') <> '' END AS has_bio,
    p.followers, p.following, p.region, p."language", p.account_created_at
FROM (
    SELECT *, coalesce(display_name, bio, avatar_url) IS NOT NULL OR verified IS NOT NULL
        OR followers IS NOT NULL AS has_profile
    FROM profiles_archived
) AS p
JOIN to_count AS c
    ON c.path = p.path AND c.relation = p.relation AND c.handle = p.handle
    AND c.snapshot_date = p.snapshot_date AND c.attempt = p.attempt
