-- The secUid and the handles of an account in the tables.
SELECT sec_uid, account_handle FROM internal.profiles WHERE account_id = $1
UNION SELECT NULL, account_handle FROM internal.presences WHERE account_id = $1
UNION SELECT NULL, unnest([from_handle, to_handle]) FROM internal.renames WHERE account_id = $1
