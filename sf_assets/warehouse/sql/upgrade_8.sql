-- From format 7 to 8: breaks that handles.yaml calls none, and what was measured of each answer.
ALTER TABLE internal.snapshots ADD COLUMN IF NOT EXISTS measures VARCHAR;
ALTER TABLE IF EXISTS main.handles ADD COLUMN IF NOT EXISTS continued DATE[];
