-- One row is one account seen in a series, in the newest list of the chunk that shows it.
SELECT coalesce(i.account_id, k.account_id) AS account_id, c.relation, c.handle, c.snapshot_date,
    l.listing, l.position, l.digest, l.sec_key IS NOT NULL AS shows_sec,
    o.sec_entry
FROM out_sightings AS o
JOIN listed AS l ON l.entry = o.seen_entry
JOIN chunk AS c ON c.listing = l.listing
LEFT JOIN known_ids AS k ON k.series = o.series AND k.account = o.account
LEFT JOIN listed AS i ON i.entry = o.id_entry
