-- The differences of the picture URLs from the first one, and whether they restore the URLs.
SELECT avatar_rests, internal.avatar_urls_of(avatar_rests, avatar_url) IS NOT DISTINCT FROM avatar_urls
    AS same
FROM (
    SELECT avatar_url, avatar_urls, internal.avatar_rests(avatar_urls, avatar_url) AS avatar_rests
    FROM rows_in
)
