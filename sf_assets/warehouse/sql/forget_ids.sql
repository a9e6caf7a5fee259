-- One row is a handle, a secUid or a name that an account was ever shown with.
SELECT account_handle, CAST(NULL AS VARCHAR) AS sec_uid, CAST(NULL AS VARCHAR) AS display_name
FROM internal.presences WHERE account_id = $id
UNION SELECT account_handle, NULL, NULL FROM internal.churn WHERE account_id = $id
UNION SELECT unnest([from_handle, to_handle]), NULL, NULL FROM internal.renames
WHERE account_id = $id
UNION SELECT account_handle, sec_uid, display_name FROM internal.profiles WHERE account_id = $id
