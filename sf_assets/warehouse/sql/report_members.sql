-- One row per tag and handle: the rate on its newest day with a rate, and the median of the group.
SELECT tag, handle, snapshot_date, daily_rate_28d, median_daily_rate_28d, handles_with_rate_28d
FROM main.group_comparison
WHERE list_contains($tags, tag) AND daily_rate_28d IS NOT NULL AND snapshot_date >= $first
QUALIFY row_number() OVER (PARTITION BY tag, handle ORDER BY snapshot_date DESC) = 1
ORDER BY tag, daily_rate_28d DESC, handle
