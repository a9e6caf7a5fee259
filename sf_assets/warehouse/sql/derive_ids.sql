-- Update `internal.ids` from the ids in `listed`, and fill `to_replay`.

-- One row is one secUid that newly belongs to a number.
CREATE OR REPLACE TEMP TABLE new_links AS
SELECT DISTINCT l.sec_key, CAST(l.number AS VARCHAR) AS account_id
FROM listed AS l
WHERE l.number IS NOT NULL AND l.sec_key IS NOT NULL
    AND NOT EXISTS (
        FROM internal.ids AS i
        WHERE i.sec_key = l.sec_key AND i.account_id = CAST(l.number AS VARCHAR)
    );

-- One row is one series with an account that is known by such a secUid, and its number. It must be
-- replayed where the two were taken for two accounts; elsewhere the account takes the number.
CREATE OR REPLACE TEMP TABLE linked AS
SELECT DISTINCT m.relation, m.handle, m.account_id AS old_id, n.account_id
FROM internal.presences AS m
JOIN new_links AS n
    ON starts_with(m.account_id, 'sec:') AND md5_number_lower(m.account_id[5:]) = n.sec_key;

CREATE OR REPLACE TEMP TABLE to_replay AS
SELECT relation, handle FROM (
    SELECT relation, handle, account_id FROM linked GROUP BY ALL HAVING count(*) > 1
)
UNION
SELECT l.relation, l.handle FROM linked AS l
SEMI JOIN internal.presences AS m
    ON m.relation = l.relation AND m.handle = l.handle AND m.account_id = l.account_id
UNION
-- Another list shows the account with its number already: its profile combines both.
SELECT l.relation, l.handle FROM linked AS l
SEMI JOIN internal.stored_profiles AS p ON p.account_id = l.account_id
UNION
-- A secUid that belonged to another number so far.
SELECT m.relation, m.handle FROM internal.presences AS m
JOIN internal.ids AS i ON i.account_id = m.account_id
JOIN new_links AS n ON n.sec_key = i.sec_key;

INSERT INTO internal.ids SELECT sec_key, account_id FROM new_links ORDER BY ALL;

DELETE FROM linked USING to_replay AS r
WHERE linked.relation = r.relation AND linked.handle = r.handle;

UPDATE internal.presences SET account_id = l.account_id FROM linked AS l
WHERE presences.relation = l.relation AND presences.handle = l.handle
    AND presences.account_id = l.old_id;
UPDATE internal.churn SET account_id = l.account_id FROM linked AS l
WHERE churn.relation = l.relation AND churn.handle = l.handle AND churn.account_id = l.old_id;
UPDATE internal.retractions SET account_id = l.account_id FROM linked AS l
WHERE retractions.relation = l.relation AND retractions.handle = l.handle
    AND retractions.account_id = l.old_id;
UPDATE internal.renames SET account_id = l.account_id FROM linked AS l
WHERE renames.relation = l.relation AND renames.handle = l.handle AND renames.account_id = l.old_id;
UPDATE internal.stored_profiles SET account_id = l.account_id
FROM (SELECT DISTINCT old_id, account_id FROM linked) AS l
WHERE stored_profiles.account_id = l.old_id;
