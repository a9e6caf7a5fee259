-- Profiles of ids that no presence has any more: an id was bettered, or a series replayed.
DELETE FROM internal.stored_profiles
WHERE account_id NOT IN (SELECT account_id FROM internal.presences);

-- And what they have from lists of one relation that do not show them any more.
UPDATE internal.stored_profiles
SET following_digest = NULL, posts = NULL, profile_url = NULL, region = NULL, "language" = NULL,
    account_created_at = NULL, details = NULL
WHERE (following_digest IS NOT NULL OR posts IS NOT NULL)
    AND account_id NOT IN (SELECT account_id FROM internal.presences WHERE relation = 'following');

UPDATE internal.stored_profiles SET followers_digest = NULL, avatar_rests = NULL
WHERE (followers_digest IS NOT NULL OR avatar_rests IS NOT NULL)
    AND account_id NOT IN (SELECT account_id FROM internal.presences WHERE relation = 'followers');

-- And what profiles said of changes that are told no more: a late list says otherwise.
DELETE FROM internal.churn_profiles AS p
WHERE handle IN (SELECT handle FROM touched) AND NOT EXISTS (
    FROM internal.churn AS c
    WHERE c.relation = p.relation AND c.handle = p.handle AND c.account_id = p.account_id
        AND c.snapshot_date = p.snapshot_date AND c.change = p.change
);
