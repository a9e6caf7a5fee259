-- The newest known profile of every account in the wave. Ties within a day go to the list whose name
-- sorts last, so that the order of loading does not matter.

CREATE OR REPLACE TEMP TABLE wave_profiles AS
SELECT n.account_id, lower(p.account_handle) AS account_handle, p.platform_user_id, p.sec_uid,
    p.display_name, p.bio, p.verified, p.private_account, p.followers, p.following, p.posts,
    p.avatar_url, p.avatar_urls, p.profile_url, p.region, p."language", p.account_created_at,
    p.details, w.snapshot_date AS seen_on, w.relation || '/' || w.handle AS seen_in
FROM read_parquet(getvariable('archive_files'), filename = 'path') AS p
JOIN wave AS w
    ON w.path = p.path AND w.relation = p.relation AND w.handle = p.handle
    AND w.snapshot_date = p.snapshot_date AND w.attempt = p.attempt
JOIN wave_now AS n ON n.series = w.series AND n.position = p.position
QUALIFY row_number() OVER (PARTITION BY n.account_id ORDER BY seen_in DESC) = 1;

CREATE OR REPLACE TEMP TABLE wave_profiles_changed AS
SELECT n.*
FROM wave_profiles AS n
JOIN internal.profiles AS o ON o.account_id = n.account_id
WHERE (n.account_handle, n.display_name, n.bio, n.verified, n.followers, n.following, n.avatar_url)
    IS DISTINCT FROM
    (o.account_handle, o.display_name, o.bio, o.verified, o.followers, o.following, o.avatar_url)
    OR coalesce(n.platform_user_id <> o.platform_user_id, n.platform_user_id IS NOT NULL)
    OR coalesce(n.sec_uid <> o.sec_uid, n.sec_uid IS NOT NULL)
    OR coalesce(n.private_account <> o.private_account, n.private_account IS NOT NULL)
    OR coalesce(n.posts <> o.posts, n.posts IS NOT NULL)
    OR coalesce(n.avatar_urls <> o.avatar_urls, n.avatar_urls IS NOT NULL)
    OR coalesce(n.profile_url <> o.profile_url, n.profile_url IS NOT NULL)
    OR coalesce(n.region <> o.region, n.region IS NOT NULL)
    OR coalesce(n."language" <> o."language", n."language" IS NOT NULL)
    OR coalesce(n.account_created_at <> o.account_created_at, n.account_created_at IS NOT NULL)
    OR coalesce(n.details <> o.details, n.details IS NOT NULL);

-- Where the stored profile comes from is known from the presences: the newest list that shows it.
CREATE OR REPLACE TEMP TABLE wave_profiles_ranked AS
SELECT n.*, coalesce((n.seen_on, n.seen_in) > (seen.seen_on, seen.seen_in), true) AS newer
FROM wave_profiles_changed AS n
LEFT JOIN (
    SELECT m.account_id, max(coalesce(m.last_seen, newest.snapshot_date)) AS seen_on,
        arg_max(m.relation || '/' || m.handle,
            (coalesce(m.last_seen, newest.snapshot_date), m.relation || '/' || m.handle)) AS seen_in
    FROM internal.presences AS m
    JOIN (
        SELECT relation, handle, max(snapshot_date) AS snapshot_date
        FROM internal.comparisons WHERE losses <> 'unusable' GROUP BY ALL
    ) AS newest USING (relation, handle)
    SEMI JOIN wave_profiles_changed AS c ON c.account_id = m.account_id
    GROUP BY m.account_id
) AS seen USING (account_id);

UPDATE internal.profiles
SET account_handle = CASE WHEN n.newer THEN n.account_handle ELSE profiles.account_handle END,
    display_name = CASE WHEN n.newer THEN n.display_name ELSE profiles.display_name END,
    bio = CASE WHEN n.newer THEN n.bio ELSE profiles.bio END,
    verified = CASE WHEN n.newer THEN n.verified ELSE profiles.verified END,
    followers = CASE WHEN n.newer THEN n.followers ELSE profiles.followers END,
    following = CASE WHEN n.newer THEN n.following ELSE profiles.following END,
    avatar_url = CASE WHEN n.newer THEN n.avatar_url ELSE profiles.avatar_url END,
    platform_user_id = CASE WHEN n.newer THEN coalesce(n.platform_user_id, profiles.platform_user_id)
        ELSE coalesce(profiles.platform_user_id, n.platform_user_id) END,
    sec_uid = CASE WHEN n.newer THEN coalesce(n.sec_uid, profiles.sec_uid)
        ELSE coalesce(profiles.sec_uid, n.sec_uid) END,
    private_account = CASE WHEN n.newer THEN coalesce(n.private_account, profiles.private_account)
        ELSE coalesce(profiles.private_account, n.private_account) END,
    posts = CASE WHEN n.newer THEN coalesce(n.posts, profiles.posts)
        ELSE coalesce(profiles.posts, n.posts) END,
    avatar_urls = CASE WHEN n.newer THEN coalesce(n.avatar_urls, profiles.avatar_urls)
        ELSE coalesce(profiles.avatar_urls, n.avatar_urls) END,
    profile_url = CASE WHEN n.newer THEN coalesce(n.profile_url, profiles.profile_url)
        ELSE coalesce(profiles.profile_url, n.profile_url) END,
    region = CASE WHEN n.newer THEN coalesce(n.region, profiles.region)
        ELSE coalesce(profiles.region, n.region) END,
    "language" = CASE WHEN n.newer THEN coalesce(n."language", profiles."language")
        ELSE coalesce(profiles."language", n."language") END,
    account_created_at = CASE
        WHEN n.newer THEN coalesce(n.account_created_at, profiles.account_created_at)
        ELSE coalesce(profiles.account_created_at, n.account_created_at) END,
    details = CASE WHEN n.newer THEN coalesce(n.details, profiles.details)
        ELSE coalesce(profiles.details, n.details) END
FROM wave_profiles_ranked AS n
WHERE profiles.account_id = n.account_id;

INSERT INTO internal.profiles
SELECT * EXCLUDE (seen_on, seen_in) FROM wave_profiles AS n
ANTI JOIN internal.profiles AS o ON o.account_id = n.account_id
ORDER BY n.account_id;
