-- The rows of a table with a header, which is its first line.
CREATE OR REPLACE TEMP TABLE records AS
SELECT row_number() OVER () + 1 AS line, to_json(t) AS record FROM import_table AS t;
