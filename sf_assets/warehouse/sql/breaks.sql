-- One row is a list that has next to nothing in common with the one before, and whether it was compared
-- all the same.
SELECT relation, handle, snapshot_date, losses <> 'break' AS continued
FROM internal.comparisons
WHERE losses = 'break' OR starts_with(reason, 'Continued, as handles.yaml says.')
