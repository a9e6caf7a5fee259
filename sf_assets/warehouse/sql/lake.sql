-- Only in a lake: if two transactions update the same row, the later one fails to commit. So two loads
-- or two derivations never do the same work twice.

-- Versions are kept this long; then `CHECKPOINT` drops them, and their files a day later.
CALL sf_assets.set_option('expire_older_than', '30 days');
CALL sf_assets.set_option('delete_older_than', '1 day');
CALL sf_assets.set_option('parquet_compression', 'zstd');

CREATE TABLE internal.load_turn (taken BIGINT);
CREATE TABLE internal.derive_turn (taken BIGINT);
INSERT INTO internal.load_turn VALUES (0);
INSERT INTO internal.derive_turn VALUES (0);
