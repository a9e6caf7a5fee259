-- The original URLs of stored rows.
SELECT
    CASE WHEN profile_url = '@' THEN 'https://www.tiktok.com/@' || account_handle
        ELSE substring(profile_url, 2) END AS profile_url,
    from_json(avatar_rests, '{"large": "VARCHAR", "medium": "VARCHAR", "thumb": "VARCHAR"}')
        AS avatar_rests
FROM rows_in ORDER BY nth
