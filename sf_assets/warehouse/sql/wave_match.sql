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
    AND n.snapshot_date BETWEEN a.from_date AND a.to_date;

-- One row is one account ever seen in a series, with its newest presence.
CREATE OR REPLACE TEMP TABLE wave_known AS
SELECT w.series, m.account_id, m.first_seen, m.last_seen IS NULL AS present, m.last_seen,
    m.end_kind, m.place, m.account_handle, m.sec_key,
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
SELECT l.series, l.position, l.account_id AS known_id
FROM wave_list AS l
JOIN wave_known AS k ON k.series = l.series AND k.account_id = l.account_id
WHERE l.strength > 1;

CREATE OR REPLACE TEMP TABLE wave_open AS
SELECT l.* FROM wave_list AS l ANTI JOIN wave_match AS m USING (series, position);

-- Same secUid, unless both have numeric ids, which then differ.
INSERT INTO wave_match
SELECT l.series, l.position, k.account_id
FROM wave_open AS l
JOIN wave_known AS k ON k.series = l.series AND k.sec_key = l.sec_key
ANTI JOIN wave_match AS m ON m.series = k.series AND m.known_id = k.account_id
WHERE least(l.strength, k.strength) < 3
QUALIFY row_number() OVER (PARTITION BY l.series, l.position ORDER BY k.account_id) = 1
    AND row_number() OVER (PARTITION BY k.series, k.account_id ORDER BY l.position) = 1;

-- Same handle as when last seen, unless another id both have differs: then it is another person.
INSERT INTO wave_match
SELECT l.series, l.position, k.account_id
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

-- Two known accounts that turn out to be one: the same secUid; or yesterday's nameless holder of a
-- handle, where an account that was missing yesterday holds it today.
CREATE OR REPLACE TEMP TABLE wave_merges AS
SELECT DISTINCT w.series, w.relation, w.handle, other.account_id AS alias_id,
    CASE WHEN l.strength > self.strength THEN l.account_id ELSE self.account_id END AS account_id,
    CASE WHEN other.strength = 1 THEN other.first_seen ELSE DATE '0001-01-01' END AS from_date,
    CASE WHEN other.strength = 1 THEN w.snapshot_date ELSE DATE '9999-12-31' END AS to_date
FROM wave_match AS m
JOIN wave_list AS l ON l.series = m.series AND l.position = m.position
JOIN wave_known AS self ON self.series = m.series AND self.account_id = m.known_id
JOIN wave AS w ON w.series = m.series
JOIN wave_known AS other
    ON other.series = m.series AND other.account_id <> m.known_id AND other.strength < 3
    AND (
        (other.strength = 2 AND other.sec_key = l.sec_key)
        OR (
            other.strength = 1 AND other.account_handle = l.account_handle
            AND other.present AND NOT self.present
        )
    )
ANTI JOIN wave_match AS taken ON taken.series = other.series AND taken.known_id = other.account_id;

-- Accounts that show a better id than the one they are known by.
CREATE OR REPLACE TEMP TABLE wave_upgrades AS
SELECT w.series, w.relation, w.handle, k.account_id AS old_id, l.account_id AS new_id
FROM wave_match AS m
JOIN wave_list AS l ON l.series = m.series AND l.position = m.position
JOIN wave_known AS k ON k.series = m.series AND k.account_id = m.known_id
JOIN wave AS w ON w.series = m.series
WHERE l.strength > k.strength;
