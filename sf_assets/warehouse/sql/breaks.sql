-- One row is a list that shares almost no account with the list before, and whether it was compared
-- nevertheless.
SELECT relation, handle, snapshot_date, losses <> 'break' AS continued
FROM internal.comparisons
WHERE losses = 'break' OR starts_with(reason, 'Continued, as set in handles.yaml.')
