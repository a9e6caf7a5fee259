-- `records` -> import_rows: one row is one row of the file. The pointers are in the order of
-- shapes.FIELDS.

-- A username, or the address of a profile; null for anything else. Text that a spreadsheet would
-- compute may have a mark before it.
CREATE OR REPLACE TEMP MACRO import_handle(text) AS lower(nullif(regexp_extract(
    text[:400],
    '^[\s'']*(?:@?|(?:https?://)?(?:www\.|m\.)?tiktok\.com/@)([\p{L}\p{N}_.]+)(?:/?[?#].*|/)?\s*$',
    1, 'i'
), ''));
-- Seconds or milliseconds since 1970, or a day and time, which is UTC.
CREATE OR REPLACE TEMP MACRO import_time(text) AS
CASE WHEN regexp_full_match(text, '[0-9]{10}') THEN to_timestamp(CAST(text AS BIGINT))
    WHEN regexp_full_match(text, '[0-9]{13}') THEN to_timestamp(CAST(text AS BIGINT) / 1000)
    ELSE TRY_CAST(regexp_replace(trim(text), '\s*(UTC|GMT)$', '') AS TIMESTAMPTZ)
END;
CREATE OR REPLACE TEMP MACRO import_count(text) AS
CASE WHEN TRY_CAST(text AS BIGINT) >= 0 THEN TRY_CAST(text AS BIGINT) END;

CREATE OR REPLACE TEMP TABLE import_rows AS
SELECT line, coalesce(import_handle(said[1]), import_handle(said[12])) AS handle,
    coalesce(nullif(trim(said[1]), ''), said[12]) AS said,
    CAST(valid_number(said[2]) AS VARCHAR) AS number, valid_sec_uid(said[3]) AS sec_uid,
    said[4] AS display_name, said[5] AS bio, TRY_CAST(said[6] AS BOOLEAN) AS verified,
    TRY_CAST(said[7] AS BOOLEAN) AS private_account, import_count(said[8]) AS followers,
    import_count(said[9]) AS following, import_count(said[10]) AS posts,
    split_part(said[11], '?', 1) AS avatar_url, said[12] AS profile_url, said[13] AS region,
    said[14] AS "language", import_time(said[15]) AS followed_at, nullif(trim(said[15]), 'N/A') AS followed_text,
    import_handle(said[16]) AS owner, lower(trim(said[17])) AS relation, nullif(trim(said[18]), '') AS day,
    said IS NOT DISTINCT FROM getvariable('import_titles') AS is_header
FROM (
    SELECT line, json_extract_string(record, getvariable('import_pointers')) AS said FROM records
);

-- In a file with both lists, the rows of the other list.
DELETE FROM import_rows WHERE relation <> getvariable('import_relation');

-- Numbers that a spreadsheet or script has rounded to a float identify nobody.
CREATE OR REPLACE TEMP TABLE import_rounded AS
SELECT count(*) AS long, count(*) FILTER (
    CAST(number AS UBIGINT) % 100 = 0 OR CAST(number AS UBIGINT) % 256 = 0
) AS rounded
FROM import_rows WHERE length(number) > 16;
UPDATE import_rows SET number = NULL
WHERE length(number) > 16
    AND (SELECT rounded >= 0.2 * long AND (rounded > 1 OR long = 1) FROM import_rounded);
