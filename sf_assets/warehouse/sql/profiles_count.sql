-- Count the profiles of the lists in `to_count`, and keep those of accounts that came or left.

CREATE OR REPLACE TEMP TABLE profiles_shown AS
SELECT c.relation, c.handle, c.snapshot_date, c.counted, lower(p.account_handle) AS account_handle,
    valid_number(p.platform_user_id) AS number, p.verified, p.private_account,
    -- Of a tombstone, which has nothing but ids, nobody can tell.
    CASE WHEN has_profile THEN coalesce(p.avatar_url, '') <> '' END AS has_picture,
    CASE WHEN has_profile THEN coalesce(trim(p.bio), '') <> '' END AS has_bio,
    p.followers, p.following, p.region, p."language", p.account_created_at
FROM (
    SELECT *, coalesce(display_name, bio, avatar_url) IS NOT NULL OR verified IS NOT NULL
        OR followers IS NOT NULL AS has_profile
    FROM profiles_archived
) AS p
JOIN to_count AS c
    ON c.path = p.path AND c.relation = p.relation AND c.handle = p.handle
    AND c.snapshot_date = p.snapshot_date AND c.attempt = p.attempt;

INSERT INTO internal.profile_counts
SELECT relation, handle, snapshot_date, t.trait, t.value, count(*)
FROM (
    SELECT relation, handle, snapshot_date,
        unnest(internal.traits(struct_insert(p, seen_on := snapshot_date))) AS t
    FROM profiles_shown AS p WHERE counted
)
GROUP BY ALL ORDER BY ALL;

-- An account is told by the handle that it had then; one that is not found has a row without a profile.
INSERT INTO internal.churn_profiles
SELECT c.relation, c.handle, c.snapshot_date, c.account_id, c.change, p.verified, p.private_account,
    p.has_picture, p.has_bio, p.followers, p.following, p.region, p."language",
    p.account_created_at
FROM internal.churn AS c
JOIN to_count AS l
    ON l.relation = c.relation AND l.handle = c.handle AND l.snapshot_date
        = CASE WHEN c.change = 'lost' THEN c.previous_date ELSE c.snapshot_date END
ANTI JOIN internal.churn_profiles AS kept
    ON kept.relation = c.relation AND kept.handle = c.handle AND kept.account_id = c.account_id
    AND kept.snapshot_date = c.snapshot_date AND kept.change = c.change
LEFT JOIN profiles_shown AS p
    ON p.relation = l.relation AND p.handle = l.handle AND p.snapshot_date = l.snapshot_date
    AND p.account_handle = c.account_handle
QUALIFY row_number() OVER (
    PARTITION BY c.relation, c.handle, c.snapshot_date, c.account_id, c.change
    ORDER BY CAST(p.number AS VARCHAR) = c.account_id DESC NULLS LAST, p.number
) = 1
ORDER BY ALL;

DROP TABLE profiles_shown;
