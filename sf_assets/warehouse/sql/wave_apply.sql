-- One wave, second half: what the comparison of each series allows is in `judged`, the places and
-- neighbours of the current accounts in `aligned`. Writes presences, churn and what goes with them.

-- One row is one account of a current list and what became of it.
CREATE OR REPLACE TEMP TABLE wave_now AS
SELECT w.series, w.relation, w.handle, w.snapshot_date, w.previous_date, l.position,
    coalesce(m.known_id, l.account_id) AS account_id, l.account_handle,
    coalesce(l.sec_key, k.sec_key) AS sec_key, a.place,
    k.account_handle AS handle_before, k.sec_key AS sec_key_before, k.place AS place_before,
    k.end_kind AS end_before,
    CASE
        WHEN k.present THEN 'stays'
        WHEN j.gains = 'baseline' THEN 'baseline'
        WHEN j.gains = 'front' AND l.position < j.front
            THEN CASE WHEN k.account_id IS NULL THEN 'gained' ELSE 'returned' END
        -- Below the front: who was claimed lost and stands in the old place never left.
        WHEN j.gains = 'front'
            THEN CASE WHEN k.end_kind = 'lost' AND k.place BETWEEN a.floor AND a.ceiling
                THEN 'healed' ELSE 'revealed' END
        -- Without an order to go by, a loss not yet confirmed is withdrawn, not topped by a return.
        WHEN k.end_kind = 'lost' AND p.state = 'provisional' THEN 'healed'
        WHEN j.gains = 'all'
            THEN CASE WHEN k.account_id IS NULL THEN 'gained' ELSE 'returned' END
        ELSE 'revealed'
    END AS kind
FROM wave AS w
JOIN judged AS j USING (series)
JOIN wave_list AS l USING (series)
JOIN aligned AS a ON a.series = l.series AND a.position = l.position
LEFT JOIN wave_match AS m ON m.series = l.series AND m.position = l.position
LEFT JOIN wave_known AS k ON k.series = m.series AND k.account_id = m.known_id
LEFT JOIN internal.churn AS p
    ON p.relation = w.relation AND p.handle = w.handle AND p.account_id = k.account_id
    AND p.change = 'lost' AND p.state = 'provisional';

-- One row is one account of the previous list that the current one lacks.
CREATE OR REPLACE TEMP TABLE wave_gone AS
WITH before AS (
    SELECT k.series, k.account_id, k.account_handle, k.place, m.known_id IS NULL AS gone,
        m.known_id IS NULL AND (
            j.losses = 'all' OR (j.losses = 'window' AND k.place > j.horizon_place)
        ) AS candidate,
        row_number() OVER list AS rank,
        lag(k.place) OVER list AS place_above, lead(k.place) OVER list AS place_below
    FROM wave_known AS k
    JOIN judged AS j USING (series)
    LEFT JOIN wave_match AS m ON m.series = k.series AND m.known_id = k.account_id
    WHERE k.present
    WINDOW list AS (PARTITION BY k.series ORDER BY k.place DESC)
),
islands AS (
    SELECT *, rank - row_number() OVER (PARTITION BY series, candidate ORDER BY rank) AS island
    FROM before
)
SELECT series, account_id, account_handle, place, place_above, place_below, candidate, island,
    candidate AND count(*) OVER (PARTITION BY series, candidate, island)
        >= getvariable('hole_size') AS neighbours
FROM islands
WHERE gone;

-- Neighbours that vanish together are a hole in the list. Only where both lists are complete can
-- the reported total tell: if it fell by as much, they were purged.
CREATE OR REPLACE TEMP TABLE wave_holes AS
SELECT w.series
FROM wave AS w
JOIN (
    SELECT series, count(*) FILTER (neighbours) AS together,
        count(*) FILTER (candidate AND NOT neighbours) AS single
    FROM wave_gone GROUP BY series
) AS g USING (series)
LEFT JOIN (
    SELECT series, count(*) AS gained FROM wave_now WHERE kind IN ('gained', 'returned')
    GROUP BY series
) AS n USING (series)
WHERE g.together > 0 AND w.listed > 0
    AND NOT coalesce(
        w.completeness = 'complete' AND w.previous_completeness = 'complete'
        AND w.previous_total - w.reported_total + coalesce(n.gained, 0) - g.single >= g.together,
        false
    );

CREATE OR REPLACE TEMP TABLE wave_left AS
SELECT w.series, w.relation, w.handle, w.snapshot_date, w.previous_date,
    g.account_id, g.account_handle, g.place, g.place_above, g.place_below, g.island,
    g.neighbours AND h.series IS NOT NULL AS in_hole,
    CASE WHEN g.candidate AND NOT (g.neighbours AND h.series IS NOT NULL)
        THEN 'lost' ELSE 'beyond' END AS kind
FROM wave_gone AS g
JOIN wave AS w USING (series)
LEFT JOIN wave_holes AS h USING (series);

-- A loss claimed earlier is confirmed where the current list would have shown the account and does
-- not, or shows that it came again to another place.
UPDATE internal.churn SET state = 'confirmed'
FROM (
    SELECT c.relation, c.handle, c.snapshot_date, c.account_id
    FROM internal.churn AS c
    JOIN wave AS w ON w.relation = c.relation AND w.handle = c.handle
    JOIN judged AS j ON j.series = w.series
    JOIN wave_known AS k ON k.series = w.series AND k.account_id = c.account_id
    LEFT JOIN wave_now AS n ON n.series = w.series AND n.account_id = c.account_id
    LEFT JOIN (
        SELECT series, island, max(coalesce(place_above, 'inf')) AS top,
            min(coalesce(place_below, '-inf')) AS bottom
        FROM wave_left WHERE in_hole GROUP BY ALL
    ) AS hole ON hole.series = w.series AND k.place BETWEEN hole.bottom AND hole.top
    WHERE c.change = 'lost' AND c.state = 'provisional'
        AND CASE
            WHEN n.kind IS NOT NULL THEN n.kind IN ('returned', 'revealed')
            ELSE hole.series IS NULL AND (
                j.losses = 'all' OR (j.losses = 'window' AND k.place > j.horizon_place)
            )
        END
) AS sure
WHERE churn.relation = sure.relation AND churn.handle = sure.handle
    AND churn.snapshot_date = sure.snapshot_date AND churn.account_id = sure.account_id
    AND churn.change = 'lost';

-- Healed: the loss is retracted, the presence goes on, the days it was missing are noted.
INSERT INTO internal.healings
SELECT n.relation, n.handle, n.account_id, max(c.snapshot_date), any_value(n.previous_date)
FROM wave_now AS n
JOIN internal.churn AS c
    ON c.relation = n.relation AND c.handle = n.handle AND c.account_id = n.account_id
    AND c.change = 'lost'
WHERE n.kind = 'healed'
GROUP BY n.relation, n.handle, n.account_id;

UPDATE internal.churn SET state = 'retracted'
FROM wave_now AS n, internal.healings AS h
WHERE n.kind = 'healed' AND churn.relation = n.relation AND churn.handle = n.handle
    AND churn.account_id = n.account_id AND churn.change = 'lost'
    AND h.relation = n.relation AND h.handle = n.handle AND h.account_id = n.account_id
    AND h.missed_to = n.previous_date AND churn.snapshot_date = h.missed_from;

UPDATE internal.presences SET last_seen = NULL, end_kind = NULL
FROM wave_now AS n
JOIN wave_known AS k ON k.series = n.series AND k.account_id = n.account_id
WHERE n.kind = 'healed' AND presences.relation = n.relation AND presences.handle = n.handle
    AND presences.account_id = n.account_id AND presences.first_seen = k.first_seen;

-- Most accounts stay where they were: only those that moved or were renamed are written.
UPDATE internal.presences
SET place = n.place, account_handle = n.account_handle, sec_key = n.sec_key
FROM wave_now AS n
WHERE n.kind IN ('stays', 'healed')
    AND (
        n.place <> n.place_before OR n.account_handle <> n.handle_before
        OR n.sec_key IS DISTINCT FROM n.sec_key_before
    )
    AND presences.relation = n.relation AND presences.handle = n.handle
    AND presences.account_id = n.account_id AND presences.last_seen IS NULL;

UPDATE internal.presences SET last_seen = g.previous_date, end_kind = g.kind
FROM wave_left AS g
WHERE presences.relation = g.relation AND presences.handle = g.handle
    AND presences.account_id = g.account_id AND presences.last_seen IS NULL;

INSERT INTO internal.presences
SELECT relation, handle, account_id, snapshot_date, NULL, kind, NULL, place, account_handle, sec_key
FROM wave_now
WHERE kind IN ('baseline', 'gained', 'returned', 'revealed')
ORDER BY series, position;

INSERT INTO internal.churn
SELECT relation, handle, snapshot_date, previous_date, account_id, account_handle, kind, 'confirmed'
FROM wave_now WHERE kind IN ('gained', 'returned')
UNION ALL
SELECT relation, handle, snapshot_date, previous_date, account_id, account_handle, 'lost',
    'provisional'
FROM wave_left WHERE kind = 'lost'
ORDER BY ALL;

INSERT INTO internal.renames
SELECT relation, handle, account_id, handle_before, account_handle, snapshot_date
FROM wave_now
WHERE handle_before <> account_handle;
