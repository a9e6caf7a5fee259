-- One wave: the next snapshot of each series in `wave`. Who of the current list is already known?

-- One row is one account of a current list, with its best id and how strong that is.
CREATE OR REPLACE TEMP TABLE wave_list AS
SELECT n.series, n.position, n.account_handle, n.sec_key,
    coalesce(a.account_id, n.account_id) AS account_id,
    CASE
        WHEN starts_with(coalesce(a.account_id, n.account_id), '@') THEN 1
        WHEN starts_with(coalesce(a.account_id, n.account_id), 'sec:') THEN 2
        ELSE 3
    END AS strength
FROM (
    SELECT w.series, w.relation, w.handle, w.snapshot_date, p.position,
        lower(p.account_handle) AS account_handle,
        md5_number_lower(p.sec_uid) AS sec_key,
        CASE
            WHEN p.platform_user_id[1] BETWEEN '0' AND '9' THEN p.platform_user_id
            WHEN p.platform_user_id IS NOT NULL THEN 'id:' || p.platform_user_id
            WHEN p.sec_uid IS NOT NULL THEN 'sec:' || p.sec_uid
            ELSE '@' || lower(p.account_handle)
        END AS account_id
    FROM read_parquet(getvariable('archive_files'), filename = 'path') AS p
    JOIN wave AS w
        ON w.path = p.path AND w.relation = p.relation AND w.handle = p.handle
        AND w.snapshot_date = p.snapshot_date AND w.attempt = p.attempt
    WHERE w.completeness <> 'none'
) AS n
LEFT JOIN internal.aliases AS a
    ON a.relation = n.relation AND a.handle = n.handle AND a.alias_id = n.account_id
    AND n.snapshot_date BETWEEN a.from_date AND a.to_date
-- Two ids of one account may stand in one list; it counts where it comes first.
QUALIFY row_number() OVER (
    PARTITION BY n.series, coalesce(a.account_id, n.account_id) ORDER BY n.position
) = 1 AND row_number() OVER (
    PARTITION BY n.series, n.position ORDER BY a.to_date, a.account_id
) = 1;

-- One row is one account ever seen in a series, with its newest presence.
CREATE OR REPLACE TEMP TABLE wave_known AS
SELECT w.series, m.account_id, m.first_seen, m.last_seen IS NULL AS present, m.last_seen,
    m.start_kind, m.end_kind, m.place, m.account_handle, m.sec_key,
    CASE
        WHEN starts_with(m.account_id, '@') THEN 1
        WHEN starts_with(m.account_id, 'sec:') THEN 2
        ELSE 3
    END AS strength
FROM internal.presences AS m
JOIN wave AS w ON w.relation = m.relation AND w.handle = m.handle
QUALIFY row_number() OVER (PARTITION BY w.series, m.account_id ORDER BY m.first_seen DESC) = 1;

-- Same id. A handle alone is no such id: it may have moved on.
CREATE OR REPLACE TEMP TABLE wave_match AS
SELECT l.series, l.position, l.account_id AS known_id, false AS by_handle
FROM wave_list AS l
JOIN wave_known AS k ON k.series = l.series AND k.account_id = l.account_id
WHERE l.strength > 1;

CREATE OR REPLACE TEMP TABLE wave_open AS
SELECT l.* FROM wave_list AS l ANTI JOIN wave_match AS m USING (series, position);

-- Same secUid, unless both have numeric ids, which then differ.
INSERT INTO wave_match
SELECT l.series, l.position, k.account_id, false
FROM wave_open AS l
JOIN wave_known AS k ON k.series = l.series AND k.sec_key = l.sec_key
ANTI JOIN wave_match AS m ON m.series = k.series AND m.known_id = k.account_id
WHERE least(l.strength, k.strength) < 3
QUALIFY row_number() OVER (PARTITION BY l.series, l.position ORDER BY k.account_id) = 1
    AND row_number() OVER (PARTITION BY k.series, k.account_id ORDER BY l.position) = 1;

-- Same handle as when last seen, unless another id both have differs: then it is another person.
INSERT INTO wave_match
SELECT l.series, l.position, k.account_id,
    l.account_id <> k.account_id AND NOT coalesce(l.sec_key = k.sec_key, false)
FROM wave_open AS l
JOIN wave_known AS k ON k.series = l.series AND k.account_handle = l.account_handle
ANTI JOIN wave_match AS m ON m.series = k.series AND m.known_id = k.account_id
ANTI JOIN wave_match AS n ON n.series = l.series AND n.position = l.position
WHERE least(l.strength, k.strength) < 3
    AND (l.sec_key IS NULL OR k.sec_key IS NULL OR l.sec_key = k.sec_key)
QUALIFY row_number() OVER (
        PARTITION BY l.series, l.position
        ORDER BY k.present DESC, k.last_seen DESC, k.account_id
    ) = 1
    AND row_number() OVER (PARTITION BY k.series, k.account_id ORDER BY l.position) = 1;

-- One row is one account that was known and is listed. In two steps: in one, DuckDB may plan a join
-- of all accounts of a series with each other, which takes a thousand times as long.
CREATE OR REPLACE TEMP TABLE wave_named AS
SELECT m.series, m.known_id, l.account_id, l.account_handle, l.sec_key, l.strength
FROM wave_match AS m
JOIN wave_list AS l ON l.series = m.series AND l.position = m.position;

CREATE OR REPLACE TEMP TABLE wave_seen AS
SELECT n.series, n.known_id, n.account_handle, n.sec_key, k.last_seen,
    CASE WHEN n.strength > k.strength THEN n.account_id ELSE n.known_id END AS account_id
FROM wave_named AS n
JOIN wave_known AS k ON k.series = n.series AND k.account_id = n.known_id;

CREATE OR REPLACE TEMP TABLE wave_unseen AS
SELECT k.*
FROM wave_known AS k
ANTI JOIN wave_match AS m ON m.series = k.series AND m.known_id = k.account_id
WHERE k.strength < 3;

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
