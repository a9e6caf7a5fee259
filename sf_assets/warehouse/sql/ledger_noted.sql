-- One row is one list between two days: the end of its loaded snapshot, and its attempts in the ledger
-- with their credits.
WITH ended AS (
    SELECT relation, handle, snapshot_date,
        strftime(finished_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ') AS finished_at
    FROM internal.snapshots WHERE snapshot_date BETWEEN $first AND $last
),
noted AS (
    SELECT relation, handle, snapshot_date, list([attempt, credits]) AS attempts
    FROM credit_ledger WHERE snapshot_date BETWEEN $first AND $last
    GROUP BY ALL
)
SELECT relation, handle, snapshot_date, finished_at, attempts
FROM ended FULL JOIN noted USING (relation, handle, snapshot_date)
