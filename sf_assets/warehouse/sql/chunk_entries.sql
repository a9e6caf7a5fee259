-- One row is one entry of a list as the comparison takes it: numbers only, lists top first.
SELECT listing, entry, position, hash(account_id) AS key, hash(coalesce(account_handle, '')) AS handle,
    account_id[1] BETWEEN '0' AND '9' AS has_number,
    sec_key IS NOT NULL AS has_sec, sec_key IS NOT NULL AS shows_sec
FROM listed ORDER BY listing, position
