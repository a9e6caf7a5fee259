-- Profiles of ids that no presence has any more: an id was bettered, or a series replayed.
DELETE FROM internal.stored_profiles
WHERE account_id NOT IN (SELECT account_id FROM internal.presences);
