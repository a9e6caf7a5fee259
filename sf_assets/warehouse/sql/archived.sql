-- All rows of some lists of the archive, with the path of their file, in the first format, which has
-- complete picture URLs.
CREATE OR REPLACE TEMP VIEW {name} AS
SELECT * EXCLUDE (avatar_rests) REPLACE (
    coalesce(avatar_urls, internal.avatar_urls_of(avatar_rests, avatar_url)) AS avatar_urls
)
FROM (
    SELECT * EXCLUDE (computed) REPLACE (
        CASE WHEN computed THEN {digest} ELSE profile_digest END AS profile_digest
    )
    FROM {name}_unpacked
    UNION ALL BY NAME
    SELECT CAST(NULL AS STRUCT("large" VARCHAR, "medium" VARCHAR, "thumb" VARCHAR)) AS avatar_urls,
        CAST(NULL AS TIMESTAMPTZ) AS followed_at
    WHERE false
    {files}
)
