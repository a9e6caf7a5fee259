-- Addresses of stored rows made short: of a picture in other sizes what it adds to the first one, of a
-- profile a mark where it is the usual one.
SELECT
    CASE WHEN profile_url = 'https://www.tiktok.com/@' || account_handle THEN '@'
        ELSE '=' || profile_url END AS profile_url,
    CAST(to_json(internal.avatar_rests(avatar_urls, avatar_url)) AS VARCHAR) AS avatar_urls
FROM rows_in ORDER BY nth
