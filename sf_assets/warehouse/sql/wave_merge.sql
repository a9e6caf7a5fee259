-- Note the ids in `wave_merges` as other names of the accounts they turned out to be.

UPDATE internal.aliases SET account_id = m.account_id FROM wave_merges AS m
WHERE aliases.relation = m.relation AND aliases.handle = m.handle
    AND aliases.account_id = m.alias_id;
INSERT INTO internal.aliases
SELECT relation, handle, alias_id, account_id, from_date, to_date FROM wave_merges ORDER BY ALL;
