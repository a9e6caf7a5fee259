-- Shares of traits, one row per handle and segment: the newest list since $first, and all who came and
-- left since then.
WITH shown AS (
    SELECT handle, segment, trait, "value", accounts, accounts_in_all, coverage
    FROM main.audience_profile
    WHERE relation = 'followers' AND snapshot_date >= $first AND list_contains($handles, handle)
    QUALIFY segment <> 'listed'
        OR snapshot_date = max(snapshot_date) OVER (PARTITION BY handle, segment)
)
SELECT handle, segment, CAST(sum(accounts) FILTER (trait = 'private') AS BIGINT) AS accounts,
    coalesce(sum(accounts) FILTER (trait = 'private' AND "value" = 'yes'), 0)
        / nullif(sum(accounts) FILTER (trait = 'private'), 0) AS private,
    coalesce(sum(accounts) FILTER (trait = 'verified' AND "value" = 'yes'), 0)
        / nullif(sum(accounts) FILTER (trait = 'verified'), 0) AS verified,
    coalesce(sum(accounts) FILTER (trait = 'picture' AND "value" = 'no'), 0)
        / nullif(sum(accounts) FILTER (trait = 'picture'), 0) AS no_picture,
    coalesce(sum(accounts) FILTER (trait = 'bio' AND "value" = 'no'), 0)
        / nullif(sum(accounts) FILTER (trait = 'bio'), 0) AS no_bio,
    coalesce(sum(accounts) FILTER (trait = 'mass_follower' AND "value" = 'yes'), 0)
        / nullif(sum(accounts) FILTER (trait = 'mass_follower'), 0) AS mass_follower,
    coalesce(sum(accounts) FILTER (trait = 'followers' AND "value" = '0 to 99'), 0)
        / nullif(sum(accounts) FILTER (trait = 'followers'), 0) AS small,
    CASE WHEN segment = 'listed' THEN max(coverage) END AS coverage
FROM shown GROUP BY handle, segment
ORDER BY handle, list_position(['listed', 'came', 'left'], segment)
