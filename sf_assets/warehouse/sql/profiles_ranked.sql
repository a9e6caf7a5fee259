-- One row is one profile in `profiles` of an account that has one, where they are not the same: what it
-- shows, which columns that take long differ, and whether it is the newest of its account.
-- In one step, so that never all profiles of the chunk are held at once.
WITH stored AS NOT MATERIALIZED (
    SELECT p.* EXCLUDE (sec_uid_bytes, sec_uid_text, avatar_rests),
        internal.sec_uid_of(sec_uid_bytes, sec_uid_text) AS sec_uid,
        internal.avatar_urls_of(avatar_rests, avatar_url) AS avatar_urls
    FROM internal.stored_profiles AS p SEMI JOIN profiles_sightings USING (account_id)
),
changed AS NOT MATERIALIZED (
    SELECT n.* EXCLUDE (unheard), o.sec_uid IS NULL AS first_sec_uid,
        n.sec_uid <> o.sec_uid AS other_sec_uid,
        n.avatar_urls IS DISTINCT FROM o.avatar_urls AS other_avatars,
        (n.posts, n.profile_url, n.region, n."language", n.account_created_at, n.details)
            IS DISTINCT FROM
            (o.posts, o.profile_url, o.region, o."language", o.account_created_at, o.details)
            AS other_details
    FROM profiles AS n
    JOIN stored AS o ON o.account_id = n.account_id
    WHERE NOT n.unheard AND (
        (n.account_handle, n.display_name, n.bio, n.verified, n.followers, n.following)
            IS DISTINCT FROM
            (o.account_handle, o.display_name, o.bio, o.verified, o.followers, o.following)
        OR regexp_replace(n.avatar_url, '^[a-z]+://[^/]*', '')
            IS DISTINCT FROM regexp_replace(o.avatar_url, '^[a-z]+://[^/]*', '')
        OR n.private_account IS DISTINCT FROM o.private_account
        OR coalesce(n.sec_uid <> o.sec_uid, n.sec_uid IS NOT NULL)
        OR (
            n.relation = 'followers' AND (
                n.digest IS DISTINCT FROM o.followers_digest OR n.avatar_urls IS DISTINCT FROM o.avatar_urls
            )
        )
        OR (
            n.relation = 'following' AND (
                n.digest IS DISTINCT FROM o.following_digest
                OR (n.posts, n.profile_url, n.region, n."language", n.account_created_at, n.details)
                    IS DISTINCT FROM
                    (o.posts, o.profile_url, o.region, o."language", o.account_created_at, o.details)
            )
        )
    )
),
-- Which list a stored profile is from is known from the presences: the newest one that shows it.
known AS (
    SELECT m.account_id, m.relation,
        max(CAST(coalesce(m.looked_on, m.last_seen, l.snapshot_date) AS VARCHAR)
            || ' ' || m.relation || '/' || m.handle) AS seen
    FROM internal.presences AS m
    LEFT JOIN internal.latest_looks AS l
        ON l.relation = m.relation AND l.handle = m.handle
        AND (l.reach IS NULL OR m.place >= l.reach)
    SEMI JOIN profiles_sightings AS s ON s.account_id = m.account_id AND NOT s.unheard
    GROUP BY m.account_id, m.relation
),
by_account AS (
    SELECT account_id, max(seen) AS seen, bool_or(relation = 'followers') AS a_follower
    FROM known GROUP BY account_id
)
SELECT n.*, n.top AND coalesce(n.seen >= a.seen, true) AS newest,
    coalesce(n.seen >= k.seen, true) AS newest_here, coalesce(a.a_follower, false) AS a_follower
FROM changed AS n
LEFT JOIN known AS k ON k.account_id = n.account_id AND k.relation = n.relation
LEFT JOIN by_account AS a ON a.account_id = n.account_id
