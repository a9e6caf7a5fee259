-- The lists of the snapshots in `chunk` -> `listed`: one row is one account of one list, with the
-- ids it shows. Accounts are told apart later, in derive_known.sql.

CREATE OR REPLACE TEMP TABLE listed AS
SELECT row_number() OVER () - 1 AS entry, c.series, c.listing, p.position,
    lower(nullif(p.account_handle, '')) AS account_handle,
    valid_number(p.platform_user_id) AS number,
    md5_number_lower(valid_sec_uid(p.sec_uid)) AS sec_key,
    CASE WHEN valid_number(p.platform_user_id) IS NULL THEN valid_sec_uid(p.sec_uid) END AS sec_uid,
    p.profile_digest AS digest, CAST(NULL AS VARCHAR) AS account_id, p.followed_at
FROM (
    FROM read_parquet(
        getvariable('archive_files'), filename = 'path', union_by_name = true,
        hive_partitioning = false
    )
    UNION ALL BY NAME
    -- Files of an older version have no digest of the profiles, and only imports have follow times.
    SELECT CAST(NULL AS UINTEGER) AS profile_digest, CAST(NULL AS TIMESTAMPTZ) AS followed_at
    WHERE false
) AS p
JOIN chunk AS c
    ON c.path = p.path AND c.relation = p.relation AND c.handle = p.handle
    AND c.snapshot_date = p.snapshot_date AND c.attempt = p.attempt
WHERE c.comparable;

-- An id that two accounts of one list share identifies neither.
UPDATE listed SET number = NULL
FROM (
    SELECT listing, number FROM listed WHERE number IS NOT NULL GROUP BY ALL HAVING count(*) > 1
) AS shared
WHERE listed.listing = shared.listing AND listed.number = shared.number;

UPDATE listed SET sec_key = NULL, sec_uid = NULL
FROM (
    SELECT listing, sec_key FROM listed WHERE sec_key IS NOT NULL GROUP BY ALL HAVING count(*) > 1
) AS shared
WHERE listed.listing = shared.listing AND listed.sec_key = shared.sec_key;

-- Whoever lost its number to this is known by its secUid; nearly always nobody, and no list is read.
UPDATE listed SET sec_uid = s.sec_uid
FROM (
    SELECT l.entry, valid_sec_uid(p.sec_uid) AS sec_uid
    FROM read_parquet(
        getvariable('archive_files'), filename = 'path', hive_partitioning = false
    ) AS p
    JOIN chunk AS c
        ON c.path = p.path AND c.relation = p.relation AND c.handle = p.handle
        AND c.snapshot_date = p.snapshot_date AND c.attempt = p.attempt
    JOIN (
        FROM listed WHERE number IS NULL AND sec_uid IS NULL AND sec_key IS NOT NULL
    ) AS l ON l.listing = c.listing AND l.position = p.position
) AS s
WHERE listed.entry = s.entry;

-- One row is one secUid that was not known to belong to this number.
CREATE OR REPLACE TEMP TABLE new_links AS
SELECT DISTINCT l.sec_key, CAST(l.number AS VARCHAR) AS account_id
FROM listed AS l
WHERE l.number IS NOT NULL AND l.sec_key IS NOT NULL
    AND NOT EXISTS (
        FROM internal.ids AS i
        WHERE i.sec_key = l.sec_key AND i.account_id = CAST(l.number AS VARCHAR)
    );

-- One row is one series with an account that is known by such a secUid, and its number. It must be
-- replayed where the two were taken for two accounts; elsewhere the account takes the number.
CREATE OR REPLACE TEMP TABLE linked AS
SELECT DISTINCT m.relation, m.handle, m.account_id AS old_id, n.account_id
FROM internal.presences AS m
JOIN new_links AS n
    ON starts_with(m.account_id, 'sec:') AND md5_number_lower(m.account_id[5:]) = n.sec_key;

CREATE OR REPLACE TEMP TABLE to_replay AS
SELECT relation, handle FROM (
    SELECT relation, handle, account_id FROM linked GROUP BY ALL HAVING count(*) > 1
)
UNION
SELECT l.relation, l.handle FROM linked AS l
SEMI JOIN internal.presences AS m
    ON m.relation = l.relation AND m.handle = l.handle AND m.account_id = l.account_id
UNION
-- Another list shows the account by its number already: its profile is made of both.
SELECT l.relation, l.handle FROM linked AS l
SEMI JOIN internal.stored_profiles AS p ON p.account_id = l.account_id
UNION
-- A secUid that belonged to another number so far.
SELECT m.relation, m.handle FROM internal.presences AS m
JOIN internal.ids AS i ON i.account_id = m.account_id
JOIN new_links AS n ON n.sec_key = i.sec_key;

INSERT INTO internal.ids SELECT sec_key, account_id FROM new_links ORDER BY ALL;

DELETE FROM linked USING to_replay AS r
WHERE linked.relation = r.relation AND linked.handle = r.handle;

UPDATE internal.presences SET account_id = l.account_id FROM linked AS l
WHERE presences.relation = l.relation AND presences.handle = l.handle
    AND presences.account_id = l.old_id;
UPDATE internal.churn SET account_id = l.account_id FROM linked AS l
WHERE churn.relation = l.relation AND churn.handle = l.handle AND churn.account_id = l.old_id;
UPDATE internal.healings SET account_id = l.account_id FROM linked AS l
WHERE healings.relation = l.relation AND healings.handle = l.handle
    AND healings.account_id = l.old_id;
UPDATE internal.renames SET account_id = l.account_id FROM linked AS l
WHERE renames.relation = l.relation AND renames.handle = l.handle AND renames.account_id = l.old_id;
UPDATE internal.stored_profiles SET account_id = l.account_id
FROM (SELECT DISTINCT old_id, account_id FROM linked) AS l
WHERE stored_profiles.account_id = l.old_id;
