-- One wave, second half: what the comparison of each series allows is in `judged`, the places and
-- neighbours of the current accounts in `aligned`. Writes presences, churn and what goes with them.

-- One row is one account that is back and not where it stood: it stands above somebody who stood
-- above it, or who came after it was seen last. Who was revealed since then proves nothing.
CREATE OR REPLACE TEMP TABLE wave_placed AS
SELECT l.series, l.entry, l.position, m.known, a.place, a.floor
FROM wave_match AS m
JOIN aligned AS a ON a.entry = m.entry
JOIN wave_list AS l ON l.entry = m.entry;

CREATE OR REPLACE TEMP TABLE wave_back AS
SELECT p.series, p.entry, p.position, k.place, k.last_seen
FROM wave_placed AS p
JOIN wave_known AS k ON k.known = p.known
WHERE NOT k.present AND k.place < p.floor;

CREATE OR REPLACE TEMP TABLE wave_moved AS
SELECT DISTINCT b.entry
FROM (
    SELECT p.series, p.position, k.place, k.first_seen, k.start_kind
    FROM wave_placed AS p
    JOIN wave_known AS k ON k.known = p.known
    WHERE k.present AND k.place = p.place
        AND EXISTS (FROM wave_back AS b WHERE b.series = p.series)
) AS stood
JOIN wave_back AS b ON b.series = stood.series
WHERE stood.position > b.position AND stood.place > b.place
    AND (stood.first_seen <= b.last_seen OR stood.start_kind IN ('gained', 'returned'));

-- One row is one account of a current list and what became of it.
CREATE OR REPLACE TEMP TABLE wave_now AS
SELECT w.series, w.relation, w.handle, w.snapshot_date, w.previous_date, l.entry, l.position,
    k.known, coalesce(k.account_id, l.account_id) AS account_id, l.account_handle,
    coalesce(l.sec_key, k.sec_key) AS sec_key, a.place, l.digest,
    k.account_handle AS handle_before, k.sec_key AS sec_key_before, k.place AS place_before,
    k.end_kind AS end_before,
    CASE
        -- Stood where no reading has looked since, and stands above the front now: it left and came
        -- again in between.
        WHEN k.present AND j.gains = 'front' AND l.position < j.front
            AND k.place < w.previous_reach AND k.place < a.floor THEN 'again'
        WHEN k.present THEN 'stays'
        WHEN j.gains = 'baseline' THEN 'baseline'
        -- Back where it stood: who was claimed lost never left. This holds at the very top as well,
        -- where leaving and coming again would look the same.
        WHEN j.gains = 'front' AND NOT k.present AND v.entry IS NULL
            THEN CASE WHEN k.end_kind = 'lost' THEN 'healed' ELSE 'revealed' END
        WHEN j.gains = 'front' AND l.position < j.front
            THEN CASE WHEN k.account_id IS NULL THEN 'gained' ELSE 'returned' END
        WHEN j.gains = 'front' THEN 'revealed'
        -- Without an order to go by, a loss not yet confirmed is withdrawn, not topped by a return,
        -- and who was never claimed lost did not return.
        WHEN k.end_kind = 'lost' AND p.state = 'provisional' THEN 'healed'
        WHEN j.gains = 'all' AND k.account_id IS NULL THEN 'gained'
        WHEN j.gains = 'all' AND k.end_kind = 'lost' THEN 'returned'
        ELSE 'revealed'
    END AS kind
FROM wave AS w
JOIN judged AS j USING (series)
JOIN wave_list AS l USING (series)
JOIN aligned AS a ON a.entry = l.entry
LEFT JOIN wave_match AS m ON m.entry = l.entry
LEFT JOIN wave_known AS k ON k.known = m.known
LEFT JOIN wave_moved AS v ON v.entry = l.entry
LEFT JOIN (
    SELECT k.known, p.state
    FROM internal.churn AS p
    JOIN wave AS w ON w.relation = p.relation AND w.handle = p.handle
    JOIN wave_known AS k ON k.series = w.series AND k.account_id = p.account_id
    WHERE p.change = 'lost' AND p.state = 'provisional'
) AS p ON p.known = m.known;

-- One row is one account of the previous list that the current one lacks.
CREATE OR REPLACE TEMP TABLE wave_gone AS
WITH before AS (
    SELECT k.series, k.known, k.place, m.known IS NULL AS gone,
        m.known IS NULL AND (
            j.losses = 'all' OR (j.losses = 'window' AND coalesce(k.place > j.horizon, false))
        ) AS candidate,
        row_number() OVER list AS rank
    FROM wave_known AS k
    JOIN judged AS j USING (series)
    LEFT JOIN wave_match AS m ON m.known = k.known
    WHERE k.present
    WINDOW list AS (PARTITION BY k.series ORDER BY k.place DESC, k.account_id)
),
islands AS (
    SELECT *, rank - row_number() OVER (PARTITION BY series, candidate ORDER BY rank) AS island
    FROM before
)
SELECT i.series, i.known, k.account_id, k.account_handle, i.place, k.sec_key, k.strength,
    i.candidate, i.neighbours
FROM (
    SELECT series, known, place, candidate,
        candidate AND count(*) OVER (PARTITION BY series, candidate, island)
            >= getvariable('hole_size') AS neighbours
    FROM islands
    WHERE gone
) AS i
JOIN wave_known AS k ON k.known = i.known;

-- A reading that stopped at what is known says nothing of who stands below.
DELETE FROM wave_gone USING wave AS w
WHERE w.series = wave_gone.series AND w.until_known AND NOT wave_gone.candidate;

-- One row is one account that is gone, or left and came again, unread by the reading before: the
-- last day its place was read.
CREATE OR REPLACE TEMP TABLE wave_looked AS
SELECT g.known, max(l.snapshot_date) AS looked_on
FROM (
    SELECT series, known, place FROM wave_gone
    UNION ALL
    SELECT series, known, place_before FROM wave_now WHERE kind = 'again'
) AS g
JOIN wave_looks AS l ON l.series = g.series AND coalesce(g.place >= l.reach, true)
GROUP BY g.known;

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

-- An account without ids that takes another handle looks like one that left and one that was shown
-- in its very place. Where no id tells the two apart, nobody is said to have left.
CREATE OR REPLACE TEMP TABLE wave_swapped AS
SELECT DISTINCT g.known
FROM wave_gone AS g
JOIN wave_now AS n ON n.series = g.series AND n.kind = 'revealed' AND n.handle_before IS NULL
JOIN wave_list AS l ON l.entry = n.entry
JOIN aligned AS a ON a.entry = n.entry
WHERE g.candidate AND g.place < a.ceiling AND g.place > a.floor
    AND least(g.strength, l.strength) < 3
    AND (g.sec_key IS NULL OR l.sec_key IS NULL OR g.sec_key = l.sec_key);

CREATE OR REPLACE TEMP TABLE wave_left AS
SELECT w.series, w.relation, w.handle, w.snapshot_date, w.previous_date,
    g.known, g.account_id, g.account_handle,
    CASE WHEN d.looked_on IS NOT NULL THEN greatest(d.looked_on, k.first_seen) END AS looked_on,
    CASE WHEN g.candidate AND NOT (g.neighbours AND h.series IS NOT NULL) AND s.known IS NULL
        THEN 'lost' ELSE 'beyond' END AS kind
FROM wave_gone AS g
JOIN wave AS w USING (series)
LEFT JOIN wave_holes AS h USING (series)
LEFT JOIN wave_swapped AS s ON s.known = g.known
LEFT JOIN wave_looked AS d ON d.known = g.known
LEFT JOIN wave_known AS k ON k.known = g.known;

-- One row is one account claimed lost and not yet confirmed, with the number of accounts around it
-- that went missing later, or with it and nobody knows why: the list may have a hole there.
CREATE OR REPLACE TEMP TABLE wave_doubted AS
WITH doubted AS (
    SELECT w.series, c.account_id, c.snapshot_date, b.previous_date
    FROM internal.churn AS c
    JOIN wave AS w ON w.relation = c.relation AND w.handle = c.handle
    -- When all who are gone since were listed last, however deep each was read.
    JOIN internal.comparisons AS b
        ON b.relation = c.relation AND b.handle = c.handle AND b.snapshot_date = c.snapshot_date
    WHERE c.change = 'lost' AND c.state = 'provisional'
),
known AS (
    SELECT k.series, k.account_id, k.place, coalesce(k.last_seen, DATE '9999-12-31') AS last_seen,
        CASE WHEN n.series IS NULL THEN coalesce(g.kind, k.end_kind) END AS gone_as,
        sum(CAST(coalesce(n.place = k.place, false) AS INTEGER)) OVER (
            PARTITION BY k.series ORDER BY k.place DESC
        ) AS gap
    FROM wave_known AS k
    SEMI JOIN doubted AS d ON d.series = k.series
    LEFT JOIN wave_now AS n ON n.known = k.known
    LEFT JOIN wave_left AS g ON g.known = k.known
),
placed AS (
    SELECT d.series, d.account_id, d.snapshot_date, d.previous_date, k.place, k.gap
    FROM doubted AS d
    JOIN known AS k ON k.series = d.series AND k.account_id = d.account_id
)
SELECT p.series, p.account_id, p.snapshot_date, any_value(p.place) AS place,
    count(u.account_id) AS unknown
FROM placed AS p
LEFT JOIN (FROM known WHERE gone_as IS NOT NULL) AS u
    ON u.series = p.series AND u.gap = p.gap AND u.last_seen >= p.previous_date
    AND (u.gone_as = 'beyond' OR u.last_seen > p.previous_date)
GROUP BY p.series, p.account_id, p.snapshot_date;

-- A loss claimed earlier is confirmed where the current list would have shown the account and does
-- not, or shows that it came again to another place.
UPDATE internal.churn SET state = 'confirmed'
FROM (
    SELECT w.relation, w.handle, d.snapshot_date, d.account_id
    FROM wave_doubted AS d
    JOIN wave AS w ON w.series = d.series
    JOIN judged AS j ON j.series = d.series
    LEFT JOIN wave_now AS n ON n.series = d.series AND n.account_id = d.account_id
    WHERE CASE
        WHEN n.kind IS NOT NULL THEN n.kind IN ('returned', 'revealed')
        ELSE d.unknown + 1 < getvariable('hole_size') AND (
            j.losses = 'all' OR (j.losses = 'window' AND coalesce(d.place > j.shown_to, false))
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

UPDATE internal.presences SET last_seen = NULL, end_kind = NULL, looked_on = NULL
FROM wave_now AS n
JOIN wave_known AS k ON k.known = n.known
WHERE n.kind = 'healed' AND presences.relation = n.relation AND presences.handle = n.handle
    AND presences.account_id = n.account_id AND presences.first_seen = k.first_seen;

-- Most accounts stay where they were: only those that moved or were renamed are written.
UPDATE internal.presences
SET place = n.place, account_handle = n.account_handle, sec_key = n.sec_key
FROM wave_now AS n
WHERE n.kind IN ('stays', 'healed')
    AND (
        n.place IS DISTINCT FROM n.place_before OR n.account_handle <> n.handle_before
        OR n.sec_key IS DISTINCT FROM n.sec_key_before
    )
    AND presences.relation = n.relation AND presences.handle = n.handle
    AND presences.account_id = n.account_id AND presences.last_seen IS NULL;

UPDATE internal.presences
SET last_seen = g.previous_date, end_kind = g.kind,
    looked_on = nullif(g.looked_on, g.previous_date)
FROM (
    SELECT relation, handle, account_id, previous_date, kind, looked_on FROM wave_left
    UNION ALL
    SELECT n.relation, n.handle, n.account_id, n.previous_date, 'lost', d.looked_on
    FROM wave_now AS n
    LEFT JOIN wave_looked AS d ON d.known = n.known
    WHERE n.kind = 'again'
) AS g
WHERE presences.relation = g.relation AND presences.handle = g.handle
    AND presences.account_id = g.account_id AND presences.last_seen IS NULL;

INSERT INTO internal.presences
SELECT relation, handle, account_id, snapshot_date, NULL,
    CASE WHEN kind = 'again' THEN 'returned' ELSE kind END, NULL, place, account_handle, sec_key,
    NULL
FROM wave_now
WHERE kind IN ('baseline', 'gained', 'returned', 'revealed', 'again')
ORDER BY series, position;

INSERT INTO internal.churn
SELECT relation, handle, snapshot_date, previous_date, account_id, account_handle,
    CASE WHEN kind = 'again' THEN 'returned' ELSE kind END, 'confirmed'
FROM wave_now WHERE kind IN ('gained', 'returned', 'again')
UNION ALL
SELECT relation, handle, snapshot_date, coalesce(looked_on, previous_date), account_id,
    account_handle, 'lost', 'provisional'
FROM wave_left WHERE kind = 'lost'
UNION ALL
SELECT n.relation, n.handle, n.snapshot_date, coalesce(d.looked_on, n.previous_date), n.account_id,
    n.handle_before, 'lost', 'confirmed'
FROM wave_now AS n
LEFT JOIN wave_looked AS d ON d.known = n.known
WHERE n.kind = 'again'
ORDER BY ALL;

INSERT INTO internal.renames
SELECT relation, handle, account_id, handle_before, account_handle, snapshot_date
FROM wave_now
WHERE handle_before <> account_handle;
