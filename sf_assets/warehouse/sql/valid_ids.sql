-- The valid ids of an account: a positive whole number, a secUid that is not blank. Placeholders such
-- as 0, -1 or an empty text identify nobody.

CREATE OR REPLACE TEMP MACRO valid_number(id) AS
CASE
    WHEN CAST(TRY_CAST(trim(id) AS UBIGINT) AS VARCHAR) = ltrim(trim(id), '0')
        THEN nullif(TRY_CAST(trim(id) AS UBIGINT), 0)
END;
CREATE OR REPLACE TEMP MACRO valid_sec_uid(sec_uid) AS nullif(trim(sec_uid), '');
