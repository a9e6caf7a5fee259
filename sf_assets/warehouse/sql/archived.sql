-- All rows of some lists of the archive, with the path of their file. Files of an older version have no
-- digest of the profiles, and no fields beside those of the contract.
CREATE OR REPLACE TEMP VIEW {name} AS
SELECT * EXCLUDE (computed) REPLACE (
    CASE WHEN computed THEN {digest} ELSE profile_digest END AS profile_digest
)
FROM {name}_unpacked
{files}
