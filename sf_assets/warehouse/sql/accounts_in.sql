-- One row is one snapshot in a file of the archive: its accounts, a sum of what names them in their
-- order, and one of all columns, which is only there to have every byte read.
SELECT relation, handle, snapshot_date, attempt, count(*) AS accounts,
    sum(CAST(hash(position, account_handle, platform_user_id, sec_uid) AS HUGEINT)) AS names,
    sum(CAST(hash(p) AS HUGEINT)) AS bytes
FROM {file} AS p
GROUP BY ALL
