-- From format 4 to 5: snapshots say how many fields of their pages were damaged.
ALTER TABLE internal.snapshots ADD COLUMN IF NOT EXISTS damaged_fields BIGINT DEFAULT 0;
