-- One row is a run that asked for the balance, oldest first.
SELECT strftime(asked_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ'), snapshot_date,
    balance_after
FROM main.credit_balances
ORDER BY asked_at
