-- One row with facts about the rows of a file.
SELECT count(*) AS rows, count(handle) AS named,
    min(line) FILTER (handle IS NULL) AS line_without,
    arg_min(said, line) FILTER (handle IS NULL) AS said_without,
    count(number) AS numbers, count(sec_uid) AS sec_uids,
    count(followed_at) AS times, max(followed_at) AS last_time,
    min(line) FILTER (followed_at = (SELECT max(followed_at) FROM import_rows)) AS last_time_line,
    min(line) FILTER (owner <> getvariable('import_handle')) AS line_of_other,
    arg_min(owner, line) FILTER (owner <> getvariable('import_handle')) AS other,
    min(line) FILTER (is_header) AS line_of_header, NULL AS header,
    min(line) FILTER (followed_at IS NULL AND followed_text <> '') AS line_of_time,
    arg_min(followed_text, line) FILTER (followed_at IS NULL AND followed_text <> '') AS time,
    (SELECT rounded FROM import_rounded) AS rounded,
    (
        SELECT bool_and(coalesce(handle >= before, true)) OR bool_and(coalesce(handle <= before, true))
            OR bool_and(coalesce(id >= id_before, false)) OR bool_and(coalesce(id <= id_before, false))
        FROM (
            SELECT handle, lag(handle) OVER (ORDER BY line) AS before, CAST(number AS UBIGINT) AS id,
                lag(CAST(number AS UBIGINT)) OVER (ORDER BY line) AS id_before, line
            FROM import_rows
        )
        WHERE line > (SELECT min(line) FROM import_rows)
    ) AS sorted
FROM import_rows
