-- import_rows -> import_accounts: one row is one account of one day's list, each account once, with its
-- position, as in the archive. Rows without any identifier keep only their position.
CREATE OR REPLACE TEMP TABLE import_accounts AS
SELECT getvariable('import_relation') AS relation, getvariable('import_handle') AS handle,
    snapshot_date, CAST(0 AS INTEGER) AS attempt, position, account_handle, platform_user_id, sec_uid,
    display_name, bio, verified, private_account, followers, following, posts, avatar_url,
    CAST(NULL AS STRUCT("large" VARCHAR, medium VARCHAR, thumb VARCHAR)) AS avatar_urls, profile_url,
    region, "language", CAST(NULL AS TIMESTAMPTZ) AS account_created_at,
    CAST(NULL AS VARCHAR) AS details, followed_at, line
FROM (
    SELECT * EXCLUDE (handle, number), handle AS account_handle, number AS platform_user_id,
        CAST(row_number() OVER (
            PARTITION BY snapshot_date
            ORDER BY CASE getvariable('import_order')
                WHEN 'time' THEN -epoch_us(followed_at) WHEN 'oldest' THEN -line ELSE line END, line
        ) AS INTEGER) AS position
    FROM (
        SELECT r.*, d.snapshot_date
        FROM import_rows AS r JOIN import_days AS d ON d.day IS NOT DISTINCT FROM r.day
        QUALIFY handle IS NULL OR (
            row_number() OVER (PARTITION BY snapshot_date, handle, number ORDER BY line) = 1
            AND (number IS NOT NULL OR count(number) OVER (PARTITION BY snapshot_date, handle) = 0)
        )
    )
)
WHERE account_handle IS NOT NULL;
