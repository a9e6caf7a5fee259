-- A digest of a profile, equal if nothing changed. It excludes the parts of picture URLs that change
-- daily (signature and host).
CAST(hash(
    lower(account_handle), sec_uid, display_name, bio, verified, private_account, followers,
    following, posts, regexp_replace(avatar_url, '^[a-z]+://[^/]*', ''), profile_url, region,
    "language", account_created_at, details
) % 4294967296 AS UINTEGER)
