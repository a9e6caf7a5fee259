-- One row is a day and the credits of its snapshots.
SELECT snapshot_date, sum(credits_charged) FROM main.snapshots GROUP BY ALL
