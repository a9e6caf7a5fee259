-- From format 6 to 7: lists that were imported, and when an account began to follow, as an import says.
ALTER TABLE internal.snapshots ADD COLUMN IF NOT EXISTS ordered BOOLEAN DEFAULT true;
ALTER TABLE internal.snapshots ADD COLUMN IF NOT EXISTS imported_file VARCHAR;
ALTER TABLE internal.presences ADD COLUMN followed_at TIMESTAMPTZ;
ALTER TABLE internal.presences ADD COLUMN followed_at_source VARCHAR;
