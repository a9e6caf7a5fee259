-- Landed pages of the snapshots in `finished` -> kept: one row is one listed account, each account once
-- (first occurrence), with its position. Reads only the ids, as numbers, because a list of a million
-- accounts must fit into memory.

CREATE OR REPLACE TEMP TABLE entries AS
SELECT series, place_read, total, account IS NOT NULL AS listed,
    CASE WHEN valid_number(account.platformUserId) IS NOT NULL THEN 3
        WHEN valid_sec_uid(account.secUid) IS NOT NULL THEN 2 ELSE 1 END AS strength,
    md5_number(coalesce(
        'id:' || valid_number(account.platformUserId), 'sec:' || valid_sec_uid(account.secUid),
        '@' || lower(account.handle)
    )) AS id_key,
    CASE WHEN valid_sec_uid(account.secUid) IS NOT NULL THEN hash(account.secUid) END AS sec_key,
    hash(lower(account.handle)) AS handle_key
FROM (
    SELECT series, total, unnest(accounts) AS account,
        page * 1000000 + generate_subscripts(accounts, 1) AS place_read
    FROM (
        SELECT f.series, p.page, coalesce(p.body.data.totalFollowers, p.body.data.totalAccounts)
                AS total,
            -- A page without accounts also has a total.
            CASE WHEN len(coalesce(p.body.data.followers, p.body.data.accounts)) > 0
                THEN coalesce(p.body.data.followers, p.body.data.accounts) ELSE [NULL] END
                AS accounts
        FROM read_json(
            getvariable('landing_files'),
            format = 'newline_delimited',
            filename = 'path',
            hive_partitioning = false,
            maximum_object_size = getvariable('longest_line'),
            columns = {
                kind: 'VARCHAR', attempt: 'INTEGER', page: 'BIGINT',
                body: 'STRUCT(data STRUCT(
                    followers STRUCT(handle VARCHAR, platformUserId VARCHAR, secUid VARCHAR)[],
                    accounts STRUCT(handle VARCHAR, platformUserId VARCHAR, secUid VARCHAR)[],
                    totalFollowers BIGINT, totalAccounts BIGINT))'
            }
        ) AS p
        JOIN finished AS f ON f.path = p.path AND f.attempt = p.attempt
        WHERE p.kind = 'page'
    )
);

-- Pages overlap and repeat: an account counts once, by its best id and its handle or secUid. Entries
-- that share only the id are different accounts. An entry with a weaker id and the handle of an entry
-- with a better id is the same account. An account without any identifier keeps only its position,
-- which no row has.
CREATE OR REPLACE TEMP TABLE kept AS
SELECT series, place_read, position
FROM (
    SELECT series, place_read, id_key,
        CAST(row_number() OVER (PARTITION BY series ORDER BY place_read) AS INTEGER) AS position
    FROM (
        FROM (
            FROM entries WHERE listed
            QUALIFY id_key IS NULL OR row_number() OVER (
                PARTITION BY series, id_key, handle_key ORDER BY place_read
            ) = 1
        )
        QUALIFY strength < 3 OR sec_key IS NULL
            OR row_number() OVER (PARTITION BY series, id_key, sec_key ORDER BY place_read) = 1
    ) AS e
    WHERE strength = 3 OR NOT EXISTS (
        FROM entries AS o
        WHERE o.series = e.series AND o.handle_key = e.handle_key AND o.strength > e.strength
            AND (o.sec_key = e.sec_key OR o.sec_key IS NULL OR e.sec_key IS NULL)
    )
) AS placed
WHERE id_key IS NOT NULL;

-- One row is one snapshot of the batch, from its pages.
CREATE OR REPLACE TEMP TABLE staged_snapshots AS
SELECT f.*, coalesce(k.listed, 0) AS listed, t.reported_total, coalesce(t.nameless, 0) AS nameless
FROM finished AS f
LEFT JOIN (SELECT series, count(*) AS listed FROM kept GROUP BY series) AS k USING (series)
LEFT JOIN (
    -- The total is live: the newest page counts.
    SELECT series, arg_max(total, place_read) AS reported_total,
        count(*) FILTER (listed AND id_key IS NULL) AS nameless
    FROM entries GROUP BY series
) AS t USING (series);

DROP TABLE entries;
