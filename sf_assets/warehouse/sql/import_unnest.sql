-- The rows of the lists in `records`, where each record has one. (UNNEST makes what it is given anew for
-- every 2,048 rows.)
CREATE OR REPLACE TEMP TABLE records AS
WITH lists AS MATERIALIZED (
    SELECT from_json(json_extract(record, getvariable('import_list')), '["JSON"]') AS rows
    FROM (FROM records ORDER BY line)
)
SELECT row_number() OVER () AS line, record FROM (SELECT unnest(rows) AS record FROM lists);
