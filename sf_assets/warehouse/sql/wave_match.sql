-- One wave: the next snapshot of each series in `wave`. Who of the current list is already known?
-- Entries of the lists and known accounts have numbers of their own, by which they are joined.

-- How much an id says: a handle moves on, a secUid is often left out.
CREATE OR REPLACE TEMP MACRO strength_of(account_id) AS
CASE WHEN starts_with(account_id, '@') THEN 1 WHEN starts_with(account_id, 'sec:') THEN 2 ELSE 3 END;

-- One row is one account of a current list, with its best id and how strong that is. Files of an
-- older version have no digest of the profiles.
CREATE OR REPLACE TEMP TABLE wave_list AS
SELECT row_number() OVER () AS entry, w.series, p.position,
    lower(p.account_handle) AS account_handle, md5_number_lower(p.sec_uid) AS sec_key,
    CASE
        WHEN p.platform_user_id[1] BETWEEN '0' AND '9' THEN p.platform_user_id
        WHEN p.platform_user_id IS NOT NULL THEN 'id:' || p.platform_user_id
        WHEN p.sec_uid IS NOT NULL THEN 'sec:' || p.sec_uid
        ELSE '@' || lower(p.account_handle)
    END AS account_id,
    CASE WHEN p.platform_user_id IS NOT NULL THEN 3 WHEN p.sec_uid IS NOT NULL THEN 2 ELSE 1 END
        AS strength,
    p.profile_digest AS digest
FROM (
    FROM read_parquet(
        getvariable('archive_files'), filename = 'path', union_by_name = true,
        hive_partitioning = false)
    UNION ALL BY NAME
    SELECT CAST(NULL AS UINTEGER) AS profile_digest WHERE false
) AS p
JOIN wave AS w
    ON w.path = p.path AND w.relation = p.relation AND w.handle = p.handle
    AND w.snapshot_date = p.snapshot_date AND w.attempt = p.attempt
WHERE w.completeness <> 'none';

CREATE OR REPLACE TEMP TABLE wave_aliased AS
SELECT l.entry, l.series, a.account_id
FROM wave_list AS l
JOIN wave AS w ON w.series = l.series
JOIN internal.aliases AS a
    ON a.relation = w.relation AND a.handle = w.handle AND a.alias_id = l.account_id
    AND w.snapshot_date BETWEEN a.from_date AND a.to_date
QUALIFY row_number() OVER (PARTITION BY l.entry ORDER BY a.to_date, a.account_id) = 1;

UPDATE wave_list
SET account_id = a.account_id,
    strength = strength_of(a.account_id)
FROM wave_aliased AS a
WHERE wave_list.entry = a.entry;

-- Two ids of one account may stand in one list; it counts where it comes first.
DELETE FROM wave_list USING (
    FROM wave_list SEMI JOIN wave_aliased USING (series)
    QUALIFY row_number() OVER (PARTITION BY series, account_id ORDER BY position) > 1
) AS twice
WHERE wave_list.entry = twice.entry;

-- One row is one known account of a series, with its newest presence: all that are there, and of
-- those that were only who may be in the list again, or left of late. A list of a year knows many
-- times as many.
CREATE OR REPLACE TEMP TABLE wave_known AS
SELECT row_number() OVER () AS known, w.series, m.account_id, m.first_seen, true AS present,
    m.last_seen, m.start_kind, m.end_kind, m.place, m.account_handle, m.sec_key,
    strength_of(m.account_id) AS strength
FROM internal.presences AS m
JOIN wave AS w ON w.relation = m.relation AND w.handle = m.handle
WHERE m.last_seen IS NULL;

CREATE OR REPLACE TEMP TABLE wave_new AS
SELECT l.series, l.account_id, l.account_handle, l.sec_key, l.strength
FROM wave_list AS l
ANTI JOIN wave_known AS k ON k.series = l.series AND k.account_id = l.account_id
UNION ALL
SELECT series, account_id, account_handle, sec_key, strength FROM wave_list WHERE strength = 1;

CREATE OR REPLACE TEMP TABLE wave_past AS
SELECT DISTINCT w.series, w.relation, w.handle, m.account_id
FROM internal.presences AS m
JOIN wave AS w ON w.relation = m.relation AND w.handle = m.handle
LEFT JOIN (
    SELECT relation, handle, min(previous_date) AS previous_date
    FROM internal.churn WHERE change = 'lost' AND state = 'provisional' GROUP BY ALL
) AS doubted ON doubted.relation = m.relation AND doubted.handle = m.handle
WHERE m.last_seen IS NOT NULL
    AND (
        m.last_seen >= doubted.previous_date
        OR EXISTS (
            FROM wave_new AS n WHERE n.series = w.series AND n.account_id = m.account_id
        )
        OR EXISTS (
            FROM wave_new AS n
            WHERE n.series = w.series AND n.account_handle = m.account_handle
        )
        OR (m.sec_key IS NOT NULL AND EXISTS (
            FROM wave_new AS n WHERE n.series = w.series AND n.sec_key = m.sec_key
        ))
        -- Without a numeric id an account may turn out to be any other.
        OR starts_with(m.account_id, 'sec:') OR starts_with(m.account_id, '@')
    );

INSERT INTO wave_known
SELECT (SELECT coalesce(max(known), 0) FROM wave_known) + row_number() OVER (), p.series,
    m.account_id, m.first_seen, false, m.last_seen, m.start_kind, m.end_kind, m.place,
    m.account_handle, m.sec_key,
    strength_of(m.account_id)
FROM internal.presences AS m
JOIN wave_past AS p
    ON p.relation = m.relation AND p.handle = m.handle AND p.account_id = m.account_id
ANTI JOIN wave_known AS k ON k.series = p.series AND k.account_id = p.account_id
QUALIFY row_number() OVER (PARTITION BY p.series, m.account_id ORDER BY m.first_seen DESC) = 1;

-- Same id. A handle alone is no such id: it may have moved on.
CREATE OR REPLACE TEMP TABLE wave_match AS
SELECT l.entry, k.known, false AS by_handle
FROM wave_list AS l
JOIN wave_known AS k ON k.series = l.series AND k.account_id = l.account_id
WHERE l.strength > 1;

CREATE OR REPLACE TEMP TABLE wave_open AS
SELECT l.* FROM wave_list AS l ANTI JOIN wave_match AS m ON m.entry = l.entry;

-- Same secUid, unless both have numeric ids, which then differ.
INSERT INTO wave_match
SELECT l.entry, k.known, false
FROM wave_open AS l
JOIN wave_known AS k ON k.series = l.series AND k.sec_key = l.sec_key
ANTI JOIN wave_match AS m ON m.known = k.known
WHERE least(l.strength, k.strength) < 3
QUALIFY row_number() OVER (PARTITION BY l.entry ORDER BY k.account_id) = 1
    AND row_number() OVER (PARTITION BY k.known ORDER BY l.position) = 1;

-- Same handle as when last seen, unless another id both have differs: then it is another person.
INSERT INTO wave_match
SELECT l.entry, k.known,
    l.account_id <> k.account_id AND NOT coalesce(l.sec_key = k.sec_key, false)
FROM wave_open AS l
JOIN wave_known AS k ON k.series = l.series AND k.account_handle = l.account_handle
ANTI JOIN wave_match AS m ON m.known = k.known
ANTI JOIN wave_match AS n ON n.entry = l.entry
WHERE least(l.strength, k.strength) < 3
    AND (l.sec_key IS NULL OR k.sec_key IS NULL OR l.sec_key = k.sec_key)
QUALIFY row_number() OVER (
        PARTITION BY l.entry ORDER BY k.present DESC, k.last_seen DESC, k.account_id
    ) = 1
    AND row_number() OVER (PARTITION BY k.known ORDER BY l.position) = 1;

-- One row is one account that was known and is listed, where that may tell something new of who is
-- who: it has a better id, or somebody without a numeric one is missing.
CREATE OR REPLACE TEMP TABLE wave_unseen AS
SELECT k.*
FROM wave_known AS k
ANTI JOIN wave_match AS m ON m.known = k.known
WHERE k.strength < 3;

CREATE OR REPLACE TEMP TABLE wave_seen AS
SELECT k.series, k.known, k.account_id AS known_id, l.account_handle, l.sec_key, k.last_seen,
    CASE WHEN l.strength > k.strength THEN l.account_id ELSE k.account_id END AS account_id
FROM wave_match AS m
JOIN wave_list AS l ON l.entry = m.entry
JOIN wave_known AS k ON k.known = m.known
WHERE l.strength > k.strength OR l.series IN (SELECT series FROM wave_unseen);

-- Two known accounts that turn out to be one: the same secUid; or yesterday's nameless holder of a
-- handle, where an account that was missing all that time holds it today.
CREATE OR REPLACE TEMP TABLE wave_merges AS
WITH pairs AS (
    SELECT s.series, u.account_id AS alias_id, s.account_id,
        DATE '0001-01-01' AS from_date, DATE '9999-12-31' AS to_date
    FROM wave_seen AS s
    JOIN wave_unseen AS u ON u.series = s.series AND u.sec_key = s.sec_key
    WHERE u.strength = 2
    UNION ALL
    SELECT s.series, u.account_id, s.account_id, u.first_seen, NULL
    FROM wave_seen AS s
    JOIN wave_unseen AS u ON u.series = s.series AND u.account_handle = s.account_handle
    WHERE u.strength = 1 AND u.present AND u.first_seen > s.last_seen
)
SELECT DISTINCT w.series, w.relation, w.handle, p.alias_id, p.account_id, p.from_date,
    coalesce(p.to_date, w.snapshot_date) AS to_date
FROM pairs AS p
JOIN wave AS w ON w.series = p.series
WHERE p.alias_id <> p.account_id
    -- What is known already and did not help must not be tried for ever.
    AND NOT EXISTS (
        FROM internal.aliases AS a
        WHERE a.relation = w.relation AND a.handle = w.handle AND a.alias_id = p.alias_id
            AND a.from_date = p.from_date AND a.to_date = coalesce(p.to_date, w.snapshot_date)
    );
