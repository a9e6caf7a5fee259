-- The newest known profile of every account seen in the chunk. The newest list that shows an account
-- gives its name, bio and counts; what only one relation's lists have comes from the newest of those.
-- Of one day's lists the one whose name sorts last counts: the order of loading must not matter.

-- Most profiles are what they were, and the digest tells: their rows are not even read again. An
-- account in lists of both relations has its profile from two of them, and is looked at each day.
CREATE OR REPLACE TEMP TABLE profiles_restless AS
SELECT DISTINCT n.account_id
FROM (
    SELECT w.account_id, w.digest, w.sec_entry >= 0 AND coalesce(p.lacks_sec, true) AS has_first_sec,
        CASE WHEN w.relation = 'followers' THEN p.followers_digest ELSE p.following_digest END
            AS digest_here,
        CASE WHEN w.relation = 'followers' THEN p.following_digest ELSE p.followers_digest END
            AS digest_there
    FROM sightings AS w
    LEFT JOIN (
        SELECT account_id, followers_digest, following_digest,
            sec_uid_bytes IS NULL AND sec_uid_text IS NULL AS lacks_sec
        FROM internal.stored_profiles
    ) AS p ON p.account_id = w.account_id
) AS n
WHERE n.has_first_sec OR n.digest IS NULL OR n.digest_here IS DISTINCT FROM n.digest OR n.digest_there IS NOT NULL;

-- One row is one of these accounts in one relation: in which list, and where, it is seen best.
CREATE OR REPLACE TEMP TABLE profiles_sightings AS
SELECT listing, position, account_id, digest, shows_sec,
    row_number() OVER (
        PARTITION BY account_id ORDER BY snapshot_date DESC, relation DESC, handle DESC
    ) = 1 AS top,
    account_id NOT IN (SELECT account_id FROM internal.stored_profiles) AS unheard
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
