-- One row is a series of `chunk_series` and the day of its beginning, or of its last break.
CREATE OR REPLACE TEMP VIEW begun AS
SELECT n.*, coalesce(
    (SELECT max(c.snapshot_date) FROM internal.comparisons AS c
    WHERE c.relation = n.relation AND c.handle = n.handle AND c.losses = 'break'),
    DATE '0001-01-01'
) AS begun
FROM chunk_series AS n;
