-- One row is one snapshot in an archive file: its number of accounts, a checksum of their names in
-- order, and a checksum of all columns, so that every byte is read.
SELECT relation, handle, snapshot_date, attempt, count(*) AS accounts,
    sum(CAST(hash(position, account_handle, platform_user_id, sec_uid) AS HUGEINT)) AS names,
    sum(CAST(hash(p) AS HUGEINT)) AS bytes
FROM {file} AS p
GROUP BY ALL
