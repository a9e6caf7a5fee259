-- The stored tables as people query them.

CREATE OR REPLACE VIEW main.snapshots AS
SELECT relation, handle, snapshot_date, lookup_status, end_reason, completeness, exhaustive,
    listed, reported_total, pages, credits_charged, started_at, finished_at, run_id, damaged_fields,
    source
FROM internal.snapshots;

CREATE OR REPLACE VIEW main.imports AS
SELECT source[8:] AS name, imported_file AS file, handle, relation,
    min(snapshot_date) AS first_day, max(snapshot_date) AS last_day, count(*) AS days,
    sum(listed) AS accounts, end_reason, bool_and(exhaustive) AS exhaustive,
    max(finished_at) AS imported_at
FROM internal.snapshots WHERE starts_with(source, 'import:')
GROUP BY source, imported_file, run_id, handle, relation, end_reason;

CREATE OR REPLACE VIEW main.about AS
SELECT '{version}' AS version, format, published_at,
    (SELECT max(snapshot_date) FROM internal.snapshots) AS last_day
FROM internal.warehouse_format;

CREATE OR REPLACE VIEW main.follower_snapshots AS
SELECT * EXCLUDE (relation) FROM main.snapshots WHERE relation = 'followers';

CREATE OR REPLACE VIEW main.following_snapshots AS
SELECT * EXCLUDE (relation) FROM main.snapshots WHERE relation = 'following';

CREATE OR REPLACE VIEW main.memberships AS
SELECT relation, handle, account_id, first_seen, coalesce(looked_on, last_seen) AS last_seen,
    first_missed, followed_after, followed_before, start_kind, end_kind, followed_at, followed_at_source
FROM internal.presences;

CREATE OR REPLACE VIEW main.follower_churn AS
SELECT * EXCLUDE (relation, misses, confirmed_on) FROM internal.churn WHERE relation = 'followers';

CREATE OR REPLACE VIEW main.following_churn AS
SELECT * EXCLUDE (relation, misses, confirmed_on) FROM internal.churn WHERE relation = 'following';

CREATE OR REPLACE VIEW main.comparisons AS
SELECT * EXCLUDE (attempt, pages, reach, unnamed) FROM internal.comparisons;

CREATE OR REPLACE VIEW main.account_renames AS
SELECT relation, handle, account_id, from_handle, to_handle, seen_on FROM internal.renames;

-- The newest snapshot of each list, and if it is `recent`, those back to the last complete one: an
-- account below a reach was last read by an earlier one.
CREATE OR REPLACE VIEW internal.latest_looks AS
SELECT c.relation, c.handle, c.snapshot_date, c.reach
FROM internal.comparisons AS c
JOIN (
    SELECT relation, handle, max(snapshot_date) AS snapshot_date FROM internal.comparisons
    WHERE losses <> 'unusable' AND reach IS NULL
    GROUP BY relation, handle
) AS w ON w.relation = c.relation AND w.handle = c.handle AND c.snapshot_date >= w.snapshot_date
WHERE c.losses <> 'unusable';

-- The account_id is the id in a list, if it is a valid TikTok id.
CREATE OR REPLACE VIEW internal.profiles AS
SELECT account_id, account_handle,
    CASE
        WHEN account_id[1] BETWEEN '0' AND '9' THEN account_id
        WHEN starts_with(account_id, 'id:') THEN account_id[4:]
    END AS platform_user_id,
    internal.sec_uid_of(sec_uid_bytes, sec_uid_text) AS sec_uid, display_name, bio, verified,
    private_account, followers, following, posts, avatar_url,
    internal.avatar_urls_of(avatar_rests, avatar_url) AS avatar_urls, profile_url, region,
    "language", account_created_at, details, followers_digest, following_digest
FROM internal.stored_profiles;

CREATE OR REPLACE VIEW main.accounts AS
SELECT p.* EXCLUDE (followers_digest, following_digest), seen.first_seen, seen.last_seen
FROM internal.profiles AS p
JOIN (
    SELECT m.account_id, min(m.first_seen) AS first_seen,
        max(coalesce(m.looked_on, m.last_seen, greatest(m.first_seen, l.snapshot_date)))
            AS last_seen
    FROM internal.presences AS m
    JOIN internal.latest_looks AS l
        ON l.relation = m.relation AND l.handle = m.handle
        AND (l.reach IS NULL OR m.place >= l.reach)
    GROUP BY m.account_id
) AS seen USING (account_id);

-- Snapshots that are loaded and not compared yet.
CREATE OR REPLACE VIEW internal.waiting AS
SELECT s.*
FROM internal.snapshots AS s
ANTI JOIN internal.comparisons AS c
    ON c.relation = s.relation AND c.handle = s.handle AND c.snapshot_date = s.snapshot_date
    AND c.attempt = s.attempt AND c.pages = s.pages;
