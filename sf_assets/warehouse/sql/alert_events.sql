-- Events of a kind since a day, the oldest first.
SELECT snapshot_date, handle, previous_date, accounts, usual_a_day, followers_net, followers_total,
    milestone, alike_in, alike_value, alike_share, alike_share_listed
FROM main.events WHERE kind = $kind AND snapshot_date >= $since ORDER BY snapshot_date, handle
