-- The URLs of stored rows in the form of a packed file: a mark for the usual profile URL.
SELECT
    CASE WHEN profile_url = 'https://www.tiktok.com/@' || account_handle THEN '@'
        ELSE '=' || profile_url END AS profile_url,
    CAST(to_json(avatar_rests) AS VARCHAR) AS avatar_rests
FROM rows_in ORDER BY nth
