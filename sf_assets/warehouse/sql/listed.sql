-- The lists of the snapshots in `chunk`: one row is one account of one list, with its ids. An id that
-- two accounts of one list share identifies neither. Without a number the secUid counts. Nothing is
-- stored between the steps, because reading the columns again is faster.
WITH entries AS MATERIALIZED (
    SELECT c.series, c.listing, p.position, lower(nullif(p.account_handle, '')) AS account_handle,
        valid_number(p.platform_user_id) AS number, valid_sec_uid(p.sec_uid) AS sec_uid,
        md5_number_lower(valid_sec_uid(p.sec_uid)) AS sec_key, p.profile_digest AS digest, p.followed_at
    FROM archived AS p
    JOIN chunk AS c
        ON c.path = p.path AND c.relation = p.relation AND c.handle = p.handle
        AND c.snapshot_date = p.snapshot_date AND c.attempt = p.attempt
    WHERE c.comparable
),
shared_numbers AS (
    SELECT listing, number FROM entries WHERE number IS NOT NULL GROUP BY ALL HAVING count(*) > 1
),
shared_sec_uids AS (
    SELECT listing, sec_key FROM entries WHERE sec_key IS NOT NULL GROUP BY ALL HAVING count(*) > 1
)
SELECT row_number() OVER () - 1 AS entry, e.series, e.listing, e.position, e.account_handle,
    CASE WHEN n.number IS NULL THEN e.number END AS number,
    CASE WHEN s.sec_key IS NULL THEN e.sec_key END AS sec_key,
    CASE WHEN s.sec_key IS NULL AND (e.number IS NULL OR n.number IS NOT NULL) THEN e.sec_uid END
        AS sec_uid,
    e.digest, CAST(NULL AS VARCHAR) AS account_id, e.followed_at
FROM entries AS e
LEFT JOIN shared_numbers AS n ON n.listing = e.listing AND n.number = e.number
LEFT JOIN shared_sec_uids AS s ON s.listing = e.listing AND s.sec_key = e.sec_key
