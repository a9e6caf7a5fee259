-- Landed pages of the snapshots in `finished` -> staged: one row is one listed account, in the order
-- of the list, each account once (first occurrence).

CREATE OR REPLACE TEMP TABLE listed_raw AS
SELECT f.relation, f.handle, f.snapshot_date, f.attempt, p.page, p.body.data AS data
FROM read_json(
    getvariable('landing_files'),
    format = 'newline_delimited',
    filename = 'path',
    maximum_object_size = 20000000,
    columns = {
        kind: 'VARCHAR', attempt: 'INTEGER', page: 'INTEGER',
        body: 'STRUCT(data STRUCT(
            followers STRUCT(
                handle VARCHAR, displayName VARCHAR, avatarUrl VARCHAR,
                avatarUrls STRUCT("large" VARCHAR, "medium" VARCHAR, "thumb" VARCHAR),
                platformUserId VARCHAR, secUid VARCHAR, bio VARCHAR, verified BOOLEAN,
                privateAccount BOOLEAN, metrics STRUCT(followers BIGINT, following BIGINT))[],
            accounts STRUCT(
                handle VARCHAR, displayName VARCHAR, bio VARCHAR, avatarUrl VARCHAR,
                profileUrl VARCHAR, platformUserId VARCHAR, secUid VARCHAR, verified BOOLEAN,
                privateAccount BOOLEAN, region VARCHAR, "language" VARCHAR, accountCreatedAt VARCHAR,
                metrics STRUCT(followers BIGINT, following BIGINT, posts BIGINT), details JSON)[],
            totalFollowers BIGINT, totalAccounts BIGINT))'
    }
) AS p
JOIN finished AS f ON f.path = p.path AND f.attempt = p.attempt
WHERE p.kind = 'page';

CREATE OR REPLACE TEMP TABLE listed_accounts AS
SELECT relation, handle, snapshot_date, attempt,
    page * 1000000 + entry AS place_read,
    a.handle AS account_handle, nullif(a.platformUserId, '') AS platform_user_id,
    nullif(a.secUid, '') AS sec_uid, a.displayName AS display_name, a.bio AS bio,
    a.verified AS verified, a.privateAccount AS private_account, a.metrics.followers AS followers,
    a.metrics.following AS following, CAST(NULL AS BIGINT) AS posts,
    split_part(a.avatarUrl, '?', 1) AS avatar_url,
    CASE WHEN a.avatarUrls IS NOT NULL THEN {
        'large': split_part(a.avatarUrls['large'], '?', 1),
        'medium': split_part(a.avatarUrls['medium'], '?', 1),
        'thumb': split_part(a.avatarUrls['thumb'], '?', 1)
    } END AS avatar_urls,
    CAST(NULL AS VARCHAR) AS profile_url, CAST(NULL AS VARCHAR) AS region,
    CAST(NULL AS VARCHAR) AS "language", CAST(NULL AS TIMESTAMPTZ) AS account_created_at,
    CAST(NULL AS VARCHAR) AS details
FROM (
    SELECT relation, handle, snapshot_date, attempt, page,
        unnest(data.followers) AS a, generate_subscripts(data.followers, 1) AS entry
    FROM listed_raw WHERE relation = 'followers'
)
UNION ALL
SELECT relation, handle, snapshot_date, attempt,
    page * 1000000 + entry,
    a.handle, nullif(a.platformUserId, ''), nullif(a.secUid, ''), a.displayName, a.bio, a.verified,
    a.privateAccount, a.metrics.followers, a.metrics.following, a.metrics.posts,
    split_part(a.avatarUrl, '?', 1), NULL, a.profileUrl, a.region, a."language",
    -- The vendor's older pages give Unix seconds, the newer ones ISO 8601.
    coalesce(
        to_timestamp(TRY_CAST(a.accountCreatedAt AS BIGINT)),
        TRY_CAST(a.accountCreatedAt AS TIMESTAMPTZ)
    ),
    CAST(a.details AS VARCHAR)
FROM (
    SELECT relation, handle, snapshot_date, attempt, page,
        unnest(data.accounts) AS a, generate_subscripts(data.accounts, 1) AS entry
    FROM listed_raw WHERE relation = 'following'
);

-- Pages overlap and repeat: an account counts once, by its best id; an entry without the numeric id
-- that shares secUid or handle with an entry that has one is the same account again.
CREATE OR REPLACE TEMP TABLE staged AS
SELECT relation, handle, snapshot_date, attempt,
    CAST(row_number() OVER (
        PARTITION BY relation, handle, snapshot_date ORDER BY place_read
    ) AS INTEGER) AS position,
    * EXCLUDE (relation, handle, snapshot_date, attempt, place_read, better_sec, better_handle)
FROM (
    SELECT *,
        platform_user_id IS NULL AND sec_uid IS NOT NULL AND bool_or(platform_user_id IS NOT NULL)
            OVER (PARTITION BY relation, handle, snapshot_date, sec_uid) AS better_sec,
        platform_user_id IS NULL AND sec_uid IS NULL
            AND bool_or(platform_user_id IS NOT NULL OR sec_uid IS NOT NULL)
            OVER (PARTITION BY relation, handle, snapshot_date, lower(account_handle))
            AS better_handle
    FROM listed_accounts
    QUALIFY row_number() OVER (
        PARTITION BY relation, handle, snapshot_date,
            coalesce('id:' || platform_user_id, 'sec:' || sec_uid, '@' || lower(account_handle))
        ORDER BY place_read
    ) = 1
)
WHERE NOT better_sec AND NOT better_handle;

-- One row is one snapshot of the batch with what its pages say of it.
CREATE OR REPLACE TEMP TABLE staged_snapshots AS
SELECT f.*, coalesce(s.listed, 0) AS listed, t.reported_total
FROM finished AS f
LEFT JOIN (
    SELECT relation, handle, snapshot_date, count(*) AS listed FROM staged GROUP BY ALL
) AS s USING (relation, handle, snapshot_date)
LEFT JOIN (
    -- The count is live: the newest page knows best.
    SELECT relation, handle, snapshot_date,
        arg_max(coalesce(data.totalFollowers, data.totalAccounts), page) AS reported_total
    FROM listed_raw GROUP BY ALL
) AS t USING (relation, handle, snapshot_date);
