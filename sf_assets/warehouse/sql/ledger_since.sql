-- One row: the first day, from a given one on, of which the ledger may lack something on another
-- given day. A list of the day before the last balance may have been read on after midnight.
SELECT greatest(?::DATE, coalesce(max(snapshot_date) - 1, DATE '0001-01-01'))::DATE
FROM credit_balances WHERE snapshot_date < ?
