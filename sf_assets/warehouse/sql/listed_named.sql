-- The rows of `listed` with their accounts, without rows that have no id. A secUid is replaced by its
-- number. One that was shown with several numbers says nothing by itself.
WITH linked AS (
    SELECT sec_key, min(account_id) AS account_id, count(DISTINCT account_id) AS numbers
    FROM internal.ids
    WHERE sec_key IN (SELECT sec_key FROM listed WHERE number IS NULL) GROUP BY sec_key
),
known AS (
    SELECT l.* REPLACE (
            CASE WHEN coalesce(i.numbers, 1) = 1 THEN l.sec_key END AS sec_key,
            CASE WHEN coalesce(i.numbers, 1) = 1 THEN l.sec_uid END AS sec_uid
        ),
        CASE WHEN i.numbers = 1 THEN i.account_id END AS linked_id
    FROM listed AS l LEFT JOIN linked AS i ON l.number IS NULL AND i.sec_key = l.sec_key
),
named AS (
    SELECT k.* EXCLUDE (linked_id) REPLACE (
        coalesce(
            CAST(k.number AS VARCHAR), k.linked_id, 'sec:' || k.sec_uid, '@' || k.account_handle
        ) AS account_id
    )
    FROM known AS k
),
-- A list may have two ids of one account; the first one counts.
twice AS (
    SELECT listing, account_id, min(position) AS position
    FROM named GROUP BY ALL HAVING count(*) > 1
)
SELECT n.* FROM named AS n
ANTI JOIN twice AS t
    ON t.listing = n.listing AND t.account_id = n.account_id AND n.position > t.position
WHERE n.account_id IS NOT NULL
