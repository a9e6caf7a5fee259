-- When accounts of `presences_out` began to follow, as imported lists say.
UPDATE internal.presences SET followed_at = t.followed_at, followed_at_source = t.source
FROM (
    SELECT o.relation, o.handle, o.account_id, o.first, l.followed_at, s.source
    FROM presences_out AS o
    JOIN listed AS l ON l.entry = o.time_entry
    JOIN chunk AS c ON c.listing = l.listing
    JOIN internal.snapshots AS s
        ON s.relation = c.relation AND s.handle = c.handle AND s.snapshot_date = c.snapshot_date
) AS t
WHERE presences.relation = t.relation AND presences.handle = t.handle
    AND presences.account_id = t.account_id AND presences.first_seen = t.first;
