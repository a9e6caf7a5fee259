-- The rows of the lists in `records`, where each record has one.
CREATE OR REPLACE TEMP TABLE records AS
SELECT row_number() OVER () AS line, record
FROM (
    SELECT unnest(from_json(json_extract(record, getvariable('import_list')), '["JSON"]')) AS record
    FROM records ORDER BY line
);
