-- The same rows with their addresses as they were.
SELECT account_handle,
    CASE WHEN profile_url = '@' THEN 'https://www.tiktok.com/@' || account_handle
        ELSE substring(profile_url, 2) END,
    platform_user_id, sec_uid, display_name, bio, avatar_url,
    internal.avatar_urls_of(
        from_json(avatar_urls, '{"large": "VARCHAR", "medium": "VARCHAR", "thumb": "VARCHAR"}'),
        avatar_url
    ),
    verified, private_account, followers, following, posts, region, "language", account_created_at,
    details, extra, profile_digest
FROM rows_in ORDER BY nth
