-- The objects of a JSON file.
CREATE OR REPLACE TEMP TABLE records AS
SELECT row_number() OVER () AS line, json AS record
FROM read_json_objects(
    getvariable('import_file'), format = '{form}',
    maximum_object_size = getvariable('import_longest'), hive_partitioning = false
);
