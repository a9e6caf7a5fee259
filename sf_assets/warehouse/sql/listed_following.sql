-- One row is one entry of the following lists in `finished`, as the pages show it.
SELECT series, place_read,
    a.handle AS account_handle, nullif(a.platformUserId, '') AS platform_user_id,
    nullif(a.secUid, '') AS sec_uid, a.displayName AS display_name, a.bio AS bio,
    a.verified AS verified, a.privateAccount AS private_account, a.metrics.followers AS followers,
    a.metrics.following AS following, a.metrics.posts AS posts,
    split_part(a.avatarUrl, '?', 1) AS avatar_url,
    CAST(NULL AS STRUCT("large" VARCHAR, "medium" VARCHAR, "thumb" VARCHAR)) AS avatar_rests,
    a.profileUrl AS profile_url, a.region AS region, a."language" AS "language",
    -- The vendor's older pages give Unix seconds, the newer ones ISO 8601.
    coalesce(
        to_timestamp(TRY_CAST(a.accountCreatedAt AS BIGINT)),
        TRY_CAST(a.accountCreatedAt AS TIMESTAMPTZ)
    ) AS account_created_at,
    CAST(a.details AS VARCHAR) AS details
FROM (
    SELECT f.series, unnest(p.body.data.accounts) AS a,
        p.page * 1000000 + generate_subscripts(p.body.data.accounts, 1) AS place_read
    FROM read_json(
        getvariable('following_files'),
        format = 'newline_delimited',
        filename = 'path',
        hive_partitioning = false,
        maximum_object_size = getvariable('longest_line'),
        columns = {
            kind: 'VARCHAR', attempt: 'INTEGER', page: 'BIGINT',
            body: 'STRUCT(data STRUCT(accounts STRUCT(
                handle VARCHAR, displayName VARCHAR, bio VARCHAR, avatarUrl VARCHAR,
                profileUrl VARCHAR, platformUserId VARCHAR, secUid VARCHAR, verified BOOLEAN,
                privateAccount BOOLEAN, region VARCHAR, "language" VARCHAR, accountCreatedAt VARCHAR,
                metrics STRUCT(followers BIGINT, following BIGINT, posts BIGINT), details JSON)[]))'
        }
    ) AS p
    JOIN finished AS f ON f.path = p.path AND f.attempt = p.attempt
    WHERE p.kind = 'page'
)
