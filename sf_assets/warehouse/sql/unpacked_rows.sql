-- The addresses of stored rows as they were.
SELECT
    CASE WHEN profile_url = '@' THEN 'https://www.tiktok.com/@' || account_handle
        ELSE substring(profile_url, 2) END AS profile_url,
    internal.avatar_urls_of(
        from_json(avatar_urls, '{"large": "VARCHAR", "medium": "VARCHAR", "thumb": "VARCHAR"}'),
        avatar_url
    ) AS avatar_urls
FROM rows_in ORDER BY nth
