-- The rows of `listed` with their accounts, without rows that have no id. A secUid is replaced by its
-- number.
WITH named AS (
    SELECT l.* REPLACE (
        coalesce(
            CAST(l.number AS VARCHAR), i.account_id, 'sec:' || l.sec_uid, '@' || l.account_handle
        ) AS account_id
    )
    FROM listed AS l
    LEFT JOIN (
        SELECT sec_key, min(account_id) AS account_id FROM internal.ids
        WHERE sec_key IN (SELECT sec_key FROM listed WHERE number IS NULL) GROUP BY sec_key
    ) AS i ON l.number IS NULL AND i.sec_key = l.sec_key
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
