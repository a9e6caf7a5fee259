-- Totals of these handles on the seven days up to $last, and on the day before them.
SELECT handle, snapshot_date, followers_total FROM main.follower_growth
WHERE list_contains($handles, handle) AND snapshot_date BETWEEN CAST($last AS DATE) - 7 AND $last
ORDER BY ALL
