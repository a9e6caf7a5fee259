-- One row is one entry of the follower lists in `finished`, as the pages show it.
SELECT series, place_read,
    a.handle AS account_handle, nullif(a.platformUserId, '') AS platform_user_id,
    nullif(a.secUid, '') AS sec_uid, a.displayName AS display_name, a.bio AS bio,
    a.verified AS verified, a.privateAccount AS private_account, a.metrics.followers AS followers,
    a.metrics.following AS following, CAST(NULL AS BIGINT) AS posts,
    split_part(a.avatarUrl, '?', 1) AS avatar_url,
    internal.avatar_rests(CASE WHEN a.avatarUrls IS NOT NULL THEN {
        'large': split_part(a.avatarUrls['large'], '?', 1),
        'medium': split_part(a.avatarUrls['medium'], '?', 1),
        'thumb': split_part(a.avatarUrls['thumb'], '?', 1)
    } END, split_part(a.avatarUrl, '?', 1)) AS avatar_rests,
    CAST(NULL AS VARCHAR) AS profile_url, CAST(NULL AS VARCHAR) AS region,
    CAST(NULL AS VARCHAR) AS "language", CAST(NULL AS TIMESTAMPTZ) AS account_created_at,
    CAST(NULL AS VARCHAR) AS details
FROM (
    SELECT f.series, unnest(p.body.data.followers) AS a,
        p.page * 1000000 + generate_subscripts(p.body.data.followers, 1) AS place_read
    FROM read_json(
        getvariable('followers_files'),
        format = 'newline_delimited',
        filename = 'path',
        hive_partitioning = false,
        maximum_object_size = getvariable('longest_line'),
        columns = {
            kind: 'VARCHAR', attempt: 'INTEGER', page: 'BIGINT',
            body: 'STRUCT(data STRUCT(followers STRUCT(
                handle VARCHAR, displayName VARCHAR, avatarUrl VARCHAR,
                avatarUrls STRUCT("large" VARCHAR, "medium" VARCHAR, "thumb" VARCHAR),
                platformUserId VARCHAR, secUid VARCHAR, bio VARCHAR, verified BOOLEAN,
                privateAccount BOOLEAN, metrics STRUCT(followers BIGINT, following BIGINT))[]))'
        }
    ) AS p
    JOIN finished AS f ON f.path = p.path AND f.attempt = p.attempt
    WHERE p.kind = 'page'
)
