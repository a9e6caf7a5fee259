-- The profiles of `profiles_ranked`, and of accounts that had none, into the warehouse.

-- A statement for each column, or for those that change together: what is not changed is not
-- written again, and the longest values never change.
UPDATE internal.stored_profiles
SET display_name = n.display_name, bio = n.bio, verified = n.verified, followers = n.followers,
    following = n.following
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest;

UPDATE internal.stored_profiles SET account_handle = n.account_handle
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest
    AND stored_profiles.account_handle IS DISTINCT FROM n.account_handle;

-- What the other sizes add to it is another thing then.
UPDATE internal.stored_profiles
SET avatar_url = n.avatar_url, avatar_rests = internal.avatar_rests(
        internal.avatar_urls_of(stored_profiles.avatar_rests, stored_profiles.avatar_url),
        n.avatar_url
    )
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest
    AND stored_profiles.avatar_url IS DISTINCT FROM n.avatar_url;

-- Ids are left out on some days, and stay what they are.
UPDATE internal.stored_profiles
SET sec_uid_bytes = internal.sec_uid_bytes(n.sec_uid), sec_uid_text = internal.sec_uid_text(n.sec_uid)
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.sec_uid IS NOT NULL
    AND (n.first_sec_uid OR (n.newest AND n.other_sec_uid));

-- Lists of followers always say who is private, lists of followed accounts only sometimes.
UPDATE internal.stored_profiles SET private_account = n.private_account
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest_here
    AND (n.relation = 'followers' OR NOT n.a_follower)
    AND stored_profiles.private_account IS DISTINCT FROM n.private_account;

UPDATE internal.stored_profiles SET followers_digest = n.digest
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest_here AND n.relation = 'followers';

UPDATE internal.stored_profiles
SET avatar_rests = internal.avatar_rests(n.avatar_urls, stored_profiles.avatar_url)
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest_here AND n.relation = 'followers'
    AND n.other_avatars;

UPDATE internal.stored_profiles SET posts = n.posts, following_digest = n.digest
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest_here AND n.relation = 'following';

UPDATE internal.stored_profiles
SET profile_url = n.profile_url, region = n.region, "language" = n."language",
    account_created_at = n.account_created_at, details = n.details
FROM profiles_ranked AS n
WHERE stored_profiles.account_id = n.account_id AND n.newest_here AND n.relation = 'following'
    AND n.other_details;

-- Nearly always nobody, and then no list is read again for it.
CREATE OR REPLACE TEMP TABLE profiles_second AS
FROM profiles WHERE unheard AND NOT top;

INSERT INTO internal.stored_profiles
SELECT n.account_id, n.account_handle,
    internal.sec_uid_bytes(coalesce(n.sec_uid, f.sec_uid)),
    internal.sec_uid_text(coalesce(n.sec_uid, f.sec_uid)),
    n.display_name, n.bio, n.verified,
    CASE WHEN n.relation = 'followers' THEN n.private_account
        ELSE coalesce(f.private_account, n.private_account) END,
    n.followers, n.following, coalesce(n.posts, f.posts), n.avatar_url,
    internal.avatar_rests(coalesce(n.avatar_urls, f.avatar_urls), n.avatar_url),
    coalesce(n.profile_url, f.profile_url), coalesce(n.region, f.region),
    coalesce(n."language", f."language"), coalesce(n.account_created_at, f.account_created_at),
    coalesce(n.details, f.details),
    CASE WHEN n.relation = 'followers' THEN n.digest ELSE f.digest END,
    CASE WHEN n.relation = 'following' THEN n.digest ELSE f.digest END
FROM profiles AS n
LEFT JOIN profiles_second AS f ON f.account_id = n.account_id
WHERE n.unheard AND n.top;
