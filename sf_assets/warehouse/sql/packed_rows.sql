-- Stored rows of lists, addresses made short: of a picture in other sizes what it adds to the first
-- one, of a profile a mark where it is the usual one.
SELECT account_handle,
    CASE WHEN profile_url = 'https://www.tiktok.com/@' || account_handle THEN '@'
        ELSE '=' || profile_url END,
    platform_user_id, sec_uid, display_name, bio, avatar_url,
    CAST(to_json(internal.avatar_rests(avatar_urls, avatar_url)) AS VARCHAR), verified,
    private_account, followers, following, posts, region, "language", account_created_at, details,
    extra, profile_digest
FROM rows_in ORDER BY nth
