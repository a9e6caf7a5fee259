-- How profiles are stored small, and which total of a list counts.

-- A secUid is nearly always 48 bytes as URL-safe base64, with 9 bytes before them that all have:
-- those bytes are stored, and null where it is anything else.
CREATE OR REPLACE MACRO internal.sec_uid_bytes(sec_uid) AS
CASE
    WHEN length(sec_uid) % 4 = 0 AND regexp_full_match(sec_uid, 'MS4wLjABAAAA[A-Za-z0-9_-]+')
        THEN from_base64(translate(substring(sec_uid, 13), '-_', '+/'))
END;
CREATE OR REPLACE MACRO internal.sec_uid_text(sec_uid) AS
CASE WHEN internal.sec_uid_bytes(sec_uid) IS NULL THEN sec_uid END;
CREATE OR REPLACE MACRO internal.sec_uid_of(sec_uid_bytes, sec_uid_text) AS
coalesce('MS4wLjABAAAA' || translate(to_base64(sec_uid_bytes), '+/', '-_'), sec_uid_text);

-- The same picture in another size has an address that ends differently: a plus and its end are
-- stored, an equals sign and all of it where it begins differently, too.
CREATE OR REPLACE MACRO internal.url_stem(url) AS regexp_extract(url, '^.*[/~]');
CREATE OR REPLACE MACRO internal.url_rest(url, base) AS
CASE
    WHEN starts_with(url, internal.url_stem(base))
        THEN '+' || substring(url, length(internal.url_stem(base)) + 1)
    ELSE '=' || url
END;
CREATE OR REPLACE MACRO internal.url_of(rest, base) AS
CASE WHEN starts_with(rest, '+') THEN internal.url_stem(base) ELSE '' END || substring(rest, 2);
CREATE OR REPLACE MACRO internal.avatar_rests(avatar_urls, base) AS
CASE WHEN avatar_urls IS NOT NULL THEN {
    'large': internal.url_rest(avatar_urls['large'], base),
    'medium': internal.url_rest(avatar_urls['medium'], base),
    'thumb': internal.url_rest(avatar_urls['thumb'], base)
} END;
CREATE OR REPLACE MACRO internal.avatar_urls_of(avatar_rests, base) AS
CASE WHEN avatar_rests IS NOT NULL THEN {
    'large': internal.url_of(avatar_rests['large'], base),
    'medium': internal.url_of(avatar_rests['medium'], base),
    'thumb': internal.url_of(avatar_rests['thumb'], base)
} END;

-- The total of a list: as reported, unless more accounts are listed than it says; without one, of a
-- complete list, what is listed.
CREATE OR REPLACE MACRO internal.total_of(listed, reported_total, completeness) AS
coalesce(
    CASE WHEN listed - reported_total <= greatest(2, 0.005 * reported_total) THEN reported_total END,
    CASE WHEN completeness = 'complete' THEN listed END
);
