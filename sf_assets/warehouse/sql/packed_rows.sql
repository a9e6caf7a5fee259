-- Addresses of stored rows as a packed file has them: of a profile a mark where it is the usual one.
SELECT
    CASE WHEN profile_url = 'https://www.tiktok.com/@' || account_handle THEN '@'
        ELSE '=' || profile_url END AS profile_url,
    CAST(to_json(avatar_rests) AS VARCHAR) AS avatar_rests
FROM rows_in ORDER BY nth
