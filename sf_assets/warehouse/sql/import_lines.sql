-- The lines of a text, blank ones left out.
CREATE OR REPLACE TEMP TABLE records AS
SELECT line, to_json(trim(text)) AS record
FROM (
    SELECT row_number() OVER () AS line, text
    FROM read_csv(
        getvariable('import_file'), columns = {text: 'VARCHAR'}, header = false,
        auto_detect = false, delim = chr(1), quote = '', escape = ''
    )
)
WHERE trim(text) <> '';
