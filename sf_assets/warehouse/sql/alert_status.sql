-- One row is a change of a list's status, the lists of a handle that change alike side by side.
SELECT changed_on, handle, from_status, to_status, previous_date, relation, change_id
FROM main.status_changes
WHERE changed_on >= $since
ORDER BY ALL
