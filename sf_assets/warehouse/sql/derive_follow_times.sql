-- When accounts of the lists in `chunk` began to follow, as imported lists say: into the presence that
-- has the day of such a list.
UPDATE internal.presences SET followed_at = t.followed_at, followed_at_source = t.source
FROM (
    SELECT c.relation, c.handle, c.snapshot_date, l.followed_at, s.source,
        coalesce(i.account_id, k.account_id) AS account_id
    FROM out_sightings AS o
    JOIN listed AS l ON l.entry = o.time_entry
    JOIN chunk AS c ON c.listing = l.listing
    JOIN internal.snapshots AS s
        ON s.relation = c.relation AND s.handle = c.handle AND s.snapshot_date = c.snapshot_date
    LEFT JOIN known AS k ON k.series = o.series AND k.account = o.account
    LEFT JOIN listed AS i ON i.entry = o.id_entry
) AS t
WHERE presences.relation = t.relation AND presences.handle = t.handle
    AND presences.account_id = t.account_id AND presences.first_seen <= t.snapshot_date
    AND coalesce(presences.last_seen >= t.snapshot_date, true);
