-- What only a lake has: of two transactions that update a row the later one fails to commit, so that
-- two loads, or two derivations, never do the same work twice without noticing.

-- Versions are kept so long; `CHECKPOINT` then drops them, and their files a day later.
CALL sf_assets.set_option('expire_older_than', '30 days');
CALL sf_assets.set_option('delete_older_than', '1 day');
CALL sf_assets.set_option('parquet_compression', 'zstd');

CREATE TABLE internal.load_turn (taken BIGINT);
CREATE TABLE internal.derive_turn (taken BIGINT);
INSERT INTO internal.load_turn VALUES (0);
INSERT INTO internal.derive_turn VALUES (0);
