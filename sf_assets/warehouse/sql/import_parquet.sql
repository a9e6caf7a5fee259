-- The rows of a Parquet file.
CREATE OR REPLACE TEMP TABLE records AS
SELECT row_number() OVER () AS line, to_json(p) AS record
FROM read_parquet(getvariable('import_file'), hive_partitioning = false) AS p;
