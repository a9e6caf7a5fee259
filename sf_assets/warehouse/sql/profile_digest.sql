-- What a profile says, as a number: equal where nothing changed. Avatars are left out as far as
-- they are signed anew, and served from another host, from day to day.
CAST(hash(
    lower(account_handle), sec_uid, display_name, bio, verified, private_account, followers,
    following, posts, regexp_replace(avatar_url, '^[a-z]+://[^/]*', ''), profile_url, region,
    "language", account_created_at, details
) % 4294967296 AS UINTEGER)
