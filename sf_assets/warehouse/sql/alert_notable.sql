-- One row is a notable account with a confirmed gain or loss.
SELECT n.snapshot_date, n.handle, n.relation,
    CASE n.change WHEN 'lost' THEN 'left' ELSE 'came' END AS direction, c.previous_date,
    n.change, n.account_id, n.account_handle, n.display_name, n.verified, n.followers
FROM main.notable_changes AS n
JOIN main.comparisons AS c
    ON c.relation = n.relation AND c.handle = n.handle AND c.snapshot_date = n.snapshot_date
WHERE n.snapshot_date >= $since AND n.state = 'confirmed'
ORDER BY n.snapshot_date, n.handle, n.relation, direction, c.previous_date,
    coalesce(n.verified, false) DESC, coalesce(n.followers, 0) DESC, n.change, n.account_id
