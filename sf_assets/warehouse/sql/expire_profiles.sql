-- Remove the profiles of the accounts in `expired` from the tables; `pseudonyms` has the replacements
-- of their handles.
UPDATE internal.stored_profiles
SET display_name = NULL, bio = NULL, verified = NULL, private_account = NULL, followers = NULL,
    following = NULL, posts = NULL, avatar_url = NULL, avatar_rests = NULL, profile_url = NULL,
    region = NULL, "language" = NULL, account_created_at = NULL, details = NULL,
    followers_digest = NULL, following_digest = NULL
WHERE account_id IN (SELECT account_id FROM expired);

UPDATE internal.churn_profiles
SET verified = NULL, private_account = NULL, has_picture = NULL, has_bio = NULL, followers = NULL,
    following = NULL, region = NULL, "language" = NULL, account_created_at = NULL
WHERE account_id IN (SELECT account_id FROM expired);

UPDATE internal.stored_profiles SET account_handle = n.pseudonym
FROM pseudonyms AS n
WHERE n.account_id = stored_profiles.account_id AND n.handle = lower(account_handle);
UPDATE internal.presences SET account_handle = n.pseudonym
FROM pseudonyms AS n
WHERE n.account_id = presences.account_id AND n.handle = lower(account_handle);
UPDATE internal.churn SET account_handle = n.pseudonym
FROM pseudonyms AS n
WHERE n.account_id = churn.account_id AND n.handle = lower(account_handle);
UPDATE internal.renames SET from_handle = n.pseudonym
FROM pseudonyms AS n
WHERE n.account_id = renames.account_id AND n.handle = lower(from_handle);
UPDATE internal.renames SET to_handle = n.pseudonym
FROM pseudonyms AS n
WHERE n.account_id = renames.account_id AND n.handle = lower(to_handle);
