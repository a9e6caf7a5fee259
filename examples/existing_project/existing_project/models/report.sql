-- One row is one tracked handle: its newest total, and how the last week went.
SELECT handle, max(snapshot_date) AS day, arg_max(followers_total, snapshot_date) AS followers,
    sum(followers_gained) FILTER (snapshot_date > current_date - 7) AS gained_in_a_week,
    sum(followers_lost) FILTER (snapshot_date > current_date - 7) AS lost_in_a_week
FROM follower_growth
GROUP BY handle
ORDER BY handle
