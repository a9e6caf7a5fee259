-- One row is one account of a list to archive. If only names and ids are shown, the digest of the
-- profile is 0, so that it does not replace a better profile.
SELECT a.* EXCLUDE (line) REPLACE (t.attempt AS attempt),
    CASE
        WHEN coalesce(display_name, bio, CAST(followers AS VARCHAR), avatar_url) IS NULL
            THEN CAST(0 AS UINTEGER)
        ELSE {profile_digest}
    END AS profile_digest
FROM import_accounts AS a JOIN import_attempts AS t USING (snapshot_date)
ORDER BY snapshot_date, position
