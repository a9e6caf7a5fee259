-- One row is a change of a list's status; lists of a handle that change alike are adjacent.
SELECT changed_on, handle, from_status, to_status, previous_date, relation, change_id
FROM main.status_changes
WHERE changed_on >= $since
ORDER BY ALL
