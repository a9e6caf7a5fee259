-- Delete profiles of ids without a presence: an id was improved, or a series replayed.
DELETE FROM internal.stored_profiles
WHERE account_id NOT IN (SELECT account_id FROM internal.presences);

-- And their fields from lists of a relation that no longer shows them.
UPDATE internal.stored_profiles
SET following_digest = NULL, posts = NULL, profile_url = NULL, region = NULL, "language" = NULL,
    account_created_at = NULL, details = NULL
WHERE (following_digest IS NOT NULL OR posts IS NOT NULL)
    AND account_id NOT IN (SELECT account_id FROM internal.presences WHERE relation = 'following');

UPDATE internal.stored_profiles SET followers_digest = NULL, avatar_rests = NULL
WHERE (followers_digest IS NOT NULL OR avatar_rests IS NOT NULL)
    AND account_id NOT IN (SELECT account_id FROM internal.presences WHERE relation = 'followers');

-- And the profiles of changes that a late list has removed.
DELETE FROM internal.churn_profiles AS p
WHERE handle IN (SELECT handle FROM touched) AND NOT EXISTS (
    FROM internal.churn AS c
    WHERE c.relation = p.relation AND c.handle = p.handle AND c.account_id = p.account_id
        AND c.snapshot_date = p.snapshot_date AND c.change = p.change
);
