-- Rename accounts to the better ids in `wave_upgrades`, throughout their series.

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
WHERE wave_known.series = u.series AND wave_known.account_id = u.old_id;
UPDATE wave_match SET known_id = u.new_id FROM wave_upgrades AS u
WHERE wave_match.series = u.series AND wave_match.known_id = u.old_id;
