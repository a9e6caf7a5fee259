-- One row is one handle-day and direction whose count is a spike beside the 28 days before it.
SELECT snapshot_date, handle, previous_date, change, accounts, usual, most, followers_total
FROM internal.spikes
WHERE snapshot_date >= $since AND days >= $min_days AND accounts >= $accounts
    AND rate >= $times * usual AND rate > most
ORDER BY snapshot_date, handle, change
