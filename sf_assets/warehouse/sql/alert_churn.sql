-- One row is a handle-day and direction with a spike compared with the 28 days before.
SELECT snapshot_date, handle, previous_date, change, accounts, usual, most, followers_total
FROM internal.spikes
WHERE snapshot_date >= $since AND days >= $min_days AND accounts >= $accounts
    AND rate >= $times * usual AND rate > most
ORDER BY snapshot_date, handle, change
