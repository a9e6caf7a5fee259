-- From format 3 to 4: the file knows how large it was without the room that rewriting leaves.
ALTER TABLE internal.warehouse_format ADD COLUMN IF NOT EXISTS copied_size BIGINT;
