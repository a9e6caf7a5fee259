-- The lists on a day, and the changes between two days.

-- Each list as in its usable snapshot. A `recent` list is completed with the part that was known then.
-- Lists that were imported with an unknown part next to others are left out, as in comparisons.
CREATE OR REPLACE VIEW main.list_days AS
SELECT s.handle, s.relation, s.snapshot_date,
    row_number() OVER (
        PARTITION BY s.handle, s.relation, s.snapshot_date ORDER BY m.place DESC, m.account_id
    ) AS position,
    m.account_id, m.account_handle, p.display_name, m.first_seen, m.last_seen, m.start_kind,
    EXISTS (
        FROM internal.retractions AS h
        WHERE h.relation = m.relation AND h.handle = m.handle AND h.account_id = m.account_id
            AND s.snapshot_date BETWEEN h.missed_from AND h.missed_to
    ) AS healed
FROM internal.snapshots AS s
JOIN internal.presences AS m
    ON m.relation = s.relation AND m.handle = s.handle AND m.first_seen <= s.snapshot_date
    AND (m.last_seen IS NULL OR m.last_seen >= s.snapshot_date)
LEFT JOIN internal.profiles AS p ON p.account_id = m.account_id
WHERE s.completeness <> 'none' AND s.listed > 0
    AND (
        s.end_reason IS DISTINCT FROM 'partial' OR EXISTS (
            FROM internal.comparisons AS c
            WHERE c.relation = s.relation AND c.handle = s.handle
                AND c.snapshot_date = s.snapshot_date AND c.losses <> 'unusable'
        )
    );

-- The list of a relation in the last usable snapshot on or before a day. Finds that day first, because
-- `list_days` would build the lists of all days.
CREATE OR REPLACE MACRO internal.list_on(wanted_relation, wanted_handle, wanted_day) AS TABLE
WITH stood AS (
    SELECT relation, handle, snapshot_date
    FROM internal.snapshots AS s
    WHERE relation = wanted_relation
        AND handle = lower(ltrim(wanted_handle, '@'))
        AND snapshot_date <= CAST(wanted_day AS DATE)
        AND completeness <> 'none'
        AND (
            s.end_reason IS DISTINCT FROM 'partial' OR EXISTS (
                FROM internal.comparisons AS c
                WHERE c.relation = s.relation AND c.handle = s.handle
                    AND c.snapshot_date = s.snapshot_date AND c.losses <> 'unusable'
            )
        )
    ORDER BY snapshot_date DESC LIMIT 1
)
SELECT m.account_id, m.account_handle, p.display_name, m.first_seen, m.last_seen, m.start_kind,
    EXISTS (
        FROM internal.retractions AS h
        WHERE h.relation = m.relation AND h.handle = m.handle AND h.account_id = m.account_id
            AND stood.snapshot_date BETWEEN h.missed_from AND h.missed_to
    ) AS healed
FROM stood
JOIN internal.snapshots AS s USING (relation, handle, snapshot_date)
JOIN internal.presences AS m USING (relation, handle)
LEFT JOIN internal.profiles AS p ON p.account_id = m.account_id
WHERE s.listed > 0
    AND m.first_seen <= stood.snapshot_date
    AND (m.last_seen IS NULL OR m.last_seen >= stood.snapshot_date)
ORDER BY m.place DESC;

CREATE OR REPLACE MACRO main.followers_on(wanted_handle, wanted_day) AS TABLE
SELECT * FROM internal.list_on('followers', wanted_handle, wanted_day);

CREATE OR REPLACE MACRO main.following_on(wanted_handle, wanted_day) AS TABLE
SELECT * FROM internal.list_on('following', wanted_handle, wanted_day);

CREATE OR REPLACE MACRO main.churn_between(wanted_handle, from_day, to_day) AS TABLE
SELECT relation, snapshot_date, previous_date, account_id, account_handle, change, state
FROM internal.churn
WHERE handle = lower(ltrim(wanted_handle, '@'))
    AND snapshot_date > CAST(from_day AS DATE)
    AND snapshot_date <= CAST(to_day AS DATE)
    AND state <> 'retracted'
ORDER BY snapshot_date, relation, change, account_handle;
