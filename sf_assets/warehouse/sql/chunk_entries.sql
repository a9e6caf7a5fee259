-- One row is one entry of a list as the comparison takes it: numbers only, lists top first.
SELECT listing, entry, position, hash(account_id) AS key, hash(coalesce(account_handle, '')) AS handle,
    account_id[1] BETWEEN '0' AND '9' AS has_number,
    sec_key IS NOT NULL AS has_sec, sec_key IS NOT NULL AS shows_sec,
    coalesce(digest = 0, false) AS bare, followed_at IS NOT NULL AS shows_time
FROM listed ORDER BY listing, position
