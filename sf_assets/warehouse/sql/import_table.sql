-- The rows of a table with a header, which is its first line after `import_skipped` blank ones. Rows without any value
-- are left out.
CREATE OR REPLACE TEMP TABLE records AS
SELECT line, record
FROM (
    SELECT row_number() OVER () + 1 + getvariable('import_skipped') AS line, to_json(t) AS record,
        coalesce(*COLUMNS(t.*)) AS any_value
    FROM import_table AS t
)
WHERE any_value IS NOT NULL;
