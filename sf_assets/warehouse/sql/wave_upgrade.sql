-- Last words on who is who, once the lists are laid over each other; then accounts that show a
-- better id than the one they are known by are renamed to it, throughout their series.

-- Nothing but a handle says that this newcomer at the top is an account known before, and handles
-- move on. If it is the same after all, an id will tell on one of the next days.
DELETE FROM wave_match USING wave_list AS l, judged AS j
WHERE wave_match.by_handle AND l.entry = wave_match.entry AND j.series = l.series
    AND j.gains = 'front' AND l.position < j.front;

CREATE OR REPLACE TEMP TABLE wave_upgrades AS
SELECT s.known, w.relation, w.handle, s.known_id AS old_id, s.account_id AS new_id
FROM wave_seen AS s
JOIN wave AS w ON w.series = s.series
SEMI JOIN wave_match AS m ON m.known = s.known
WHERE s.account_id <> s.known_id;

UPDATE internal.presences SET account_id = u.new_id FROM wave_upgrades AS u
WHERE presences.relation = u.relation AND presences.handle = u.handle
    AND presences.account_id = u.old_id;
UPDATE internal.churn SET account_id = u.new_id FROM wave_upgrades AS u
WHERE churn.relation = u.relation AND churn.handle = u.handle AND churn.account_id = u.old_id;
UPDATE internal.healings SET account_id = u.new_id FROM wave_upgrades AS u
WHERE healings.relation = u.relation AND healings.handle = u.handle
    AND healings.account_id = u.old_id;
UPDATE internal.renames SET account_id = u.new_id FROM wave_upgrades AS u
WHERE renames.relation = u.relation AND renames.handle = u.handle AND renames.account_id = u.old_id;
UPDATE wave_known SET account_id = u.new_id FROM wave_upgrades AS u
WHERE wave_known.known = u.known;
