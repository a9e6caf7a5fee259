-- The newest known profile of every account seen in the chunk. The newest list that shows an account
-- gives its name, bio and counts; what only one relation's lists have comes from the newest of those.
-- Of one day's lists the one whose name sorts last counts: the order of loading must not matter.

-- Most profiles are what they were, and the digest tells: their rows are not even read again. An
-- account in lists of both relations has its profile from two of them, and is looked at each day.
CREATE OR REPLACE TEMP TABLE profiles_restless AS
SELECT DISTINCT n.account_id
FROM (
    SELECT w.account_id, w.digest, w.sec_entry >= 0 AND p.sec_uid IS NULL AS has_first_sec,
        CASE WHEN w.relation = 'followers' THEN p.followers_digest ELSE p.following_digest END
            AS digest_here,
        CASE WHEN w.relation = 'followers' THEN p.following_digest ELSE p.followers_digest END
            AS digest_there
    FROM sightings AS w
    LEFT JOIN internal.profiles AS p ON p.account_id = w.account_id
) AS n
WHERE n.has_first_sec OR n.digest IS NULL OR n.digest_here IS DISTINCT FROM n.digest OR n.digest_there IS NOT NULL;

-- One row is one of these accounts in one relation: in which list, and where, it is seen best.
CREATE OR REPLACE TEMP TABLE profiles_sightings AS
SELECT listing, position, account_id, digest, shows_sec,
    row_number() OVER (
        PARTITION BY account_id ORDER BY snapshot_date DESC, relation DESC, handle DESC
    ) = 1 AS top,
    account_id NOT IN (SELECT account_id FROM internal.profiles) AS unheard
FROM sightings SEMI JOIN profiles_restless USING (account_id)
QUALIFY row_number() OVER (
    PARTITION BY account_id, relation ORDER BY snapshot_date DESC, handle DESC
) = 1;

-- One row is one account whose newest list leaves its secUid out, where another one shows it.
CREATE OR REPLACE TEMP TABLE earlier_sec_uids AS
SELECT s.account_id, any_value(valid_sec_uid(p.sec_uid)) AS sec_uid
FROM (
    SELECT account_id, listing, position FROM (
        SELECT s.account_id, l.listing, l.position,
            row_number() OVER (
                PARTITION BY s.account_id ORDER BY c.snapshot_date DESC, c.relation, c.handle
            ) AS back
        FROM sightings AS s
        JOIN listed AS l ON l.entry = s.sec_entry
        JOIN chunk AS c ON c.listing = l.listing
        WHERE s.account_id IN (SELECT account_id FROM profiles_sightings WHERE NOT shows_sec)
    ) WHERE back = 1
) AS s
JOIN chunk AS c ON c.listing = s.listing
JOIN archived AS p
    ON c.path = p.path AND c.relation = p.relation AND c.handle = p.handle
    AND c.snapshot_date = p.snapshot_date AND c.attempt = p.attempt AND p.position = s.position
GROUP BY s.account_id;

CREATE OR REPLACE TEMP VIEW profiles AS
SELECT s.account_id, c.relation, s.top, s.unheard, s.digest,
    CAST(c.snapshot_date AS VARCHAR) || ' ' || c.relation || '/' || c.handle AS seen,
    lower(p.account_handle) AS account_handle,
    coalesce(CASE WHEN s.shows_sec THEN valid_sec_uid(p.sec_uid) END, e.sec_uid) AS sec_uid,
    p.display_name, p.bio, p.verified, p.private_account, p.followers, p.following,
    p.posts, p.avatar_url, p.avatar_urls, p.profile_url, p.region, p."language",
    p.account_created_at, p.details
FROM archived AS p
JOIN chunk AS c
    ON c.path = p.path AND c.relation = p.relation AND c.handle = p.handle
    AND c.snapshot_date = p.snapshot_date AND c.attempt = p.attempt
JOIN profiles_sightings AS s ON s.listing = c.listing AND s.position = p.position
LEFT JOIN earlier_sec_uids AS e ON e.account_id = s.account_id;

-- In steps, so that never all profiles of the chunk are held at once.
CREATE OR REPLACE TEMP TABLE profiles_shown AS
SELECT * EXCLUDE (unheard) FROM profiles WHERE NOT unheard;

CREATE OR REPLACE TEMP TABLE profiles_stored AS
SELECT p.* EXCLUDE (sec_uid_bytes, sec_uid_text, avatar_rests),
    internal.sec_uid_of(sec_uid_bytes, sec_uid_text) AS sec_uid,
    internal.avatar_urls_of(avatar_rests, avatar_url) AS avatar_urls
FROM internal.stored_profiles AS p SEMI JOIN profiles_shown USING (account_id);

CREATE OR REPLACE TEMP TABLE profiles_changed AS
SELECT n.*
FROM profiles_shown AS n
JOIN profiles_stored AS o ON o.account_id = n.account_id
WHERE (
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
);

-- Which list a stored profile is from is known from the presences: the newest one that shows it.
CREATE OR REPLACE TEMP TABLE profiles_ranked AS
WITH known AS (
    SELECT m.account_id, m.relation,
        max(CAST(coalesce(m.looked_on, m.last_seen, l.snapshot_date) AS VARCHAR)
            || ' ' || m.relation || '/' || m.handle) AS seen
    FROM internal.presences AS m
    LEFT JOIN internal.latest_looks AS l
        ON l.relation = m.relation AND l.handle = m.handle
        AND (l.reach IS NULL OR m.place >= l.reach)
    SEMI JOIN profiles_changed AS c ON c.account_id = m.account_id
    GROUP BY m.account_id, m.relation
),
by_account AS (
    SELECT account_id, max(seen) AS seen, bool_or(relation = 'followers') AS a_follower
    FROM known GROUP BY account_id
)
SELECT n.*, n.top AND coalesce(n.seen >= a.seen, true) AS newest,
    coalesce(n.seen >= k.seen, true) AS newest_here, coalesce(a.a_follower, false) AS a_follower
FROM profiles_changed AS n
LEFT JOIN known AS k ON k.account_id = n.account_id AND k.relation = n.relation
LEFT JOIN by_account AS a ON a.account_id = n.account_id;
