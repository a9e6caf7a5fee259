-- One row is one account that the comparison writes of, by its number there, with its ids.
SELECT t.series, t.account, c.relation, c.handle, k.account_id AS old_id,
    k.account_handle AS old_handle, coalesce(l.account_id, k.account_id) AS account_id
FROM out_touched AS t
JOIN chunk_series AS c ON c.series = t.series
LEFT JOIN known_ids AS k ON k.series = t.series AND k.account = t.account
LEFT JOIN listed AS l ON l.entry = t.id_entry
