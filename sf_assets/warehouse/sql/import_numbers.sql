-- Give `records` the line numbers of the file, where they differ: one row of import_numbers is one record.
UPDATE records SET line = n.line FROM import_numbers AS n WHERE records.line = n.counted;
