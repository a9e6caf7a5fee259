-- One row: the first day, from a given day on, for which the ledger may be incomplete on another given
-- day. A list of the day before the last balance may have continued after midnight.
SELECT greatest(?::DATE, coalesce(max(snapshot_date) - 1, DATE '0001-01-01'))::DATE
FROM credit_balances WHERE snapshot_date < ?
