-- One row is a handle over the seven days up to $last: its newest total and the changes.
SELECT handle, arg_max(followers_total, snapshot_date) AS total,
    CAST(sum(followers_net) AS BIGINT) AS net, CAST(sum(followers_gained) AS BIGINT) AS gained,
    CAST(sum(followers_lost) AS BIGINT) AS lost, count(followers_total) AS days
FROM main.follower_growth
WHERE list_contains($handles, handle) AND snapshot_date BETWEEN CAST($last AS DATE) - 6 AND $last
GROUP BY handle ORDER BY abs(sum(followers_net)) DESC NULLS LAST, handle
