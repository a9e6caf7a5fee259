-- From format 1 to 2: profiles have digests of the list entries they are made of.
ALTER TABLE internal.profiles ADD COLUMN IF NOT EXISTS followers_digest UINTEGER;
ALTER TABLE internal.profiles ADD COLUMN IF NOT EXISTS following_digest UINTEGER;
