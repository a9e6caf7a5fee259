-- From format 3 to 4: the file knows how large it was without the room that rewriting leaves, and
-- profiles are stored smaller; internal.profiles is a view from here on.
ALTER TABLE internal.warehouse_format ADD COLUMN IF NOT EXISTS copied_size BIGINT;

INSERT INTO internal.stored_profiles
SELECT account_id, account_handle, internal.sec_uid_bytes(sec_uid), internal.sec_uid_text(sec_uid),
    display_name, bio, verified, private_account, followers, following, posts, avatar_url,
    internal.avatar_rests(avatar_urls, avatar_url), profile_url, region, "language",
    account_created_at, details, followers_digest, following_digest
FROM internal.profiles;

DROP TABLE internal.profiles;
