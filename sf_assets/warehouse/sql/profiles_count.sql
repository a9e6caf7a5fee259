-- Count the profiles in `profiles_shown`, and keep those of accounts that came or left.

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
