-- Macros for the compact form of profiles, and for the total of a list that counts.

-- A secUid is nearly always a common prefix and 48 bytes as URL-safe base64: those bytes are stored,
-- NULL for any other form.
CREATE OR REPLACE MACRO internal.sec_uid_bytes(sec_uid) AS
CASE
    WHEN length(sec_uid) % 4 = 0 AND regexp_full_match(sec_uid, 'MS4wLjABAAAA[A-Za-z0-9_-]+')
        THEN from_base64(translate(substring(sec_uid, 13), '-_', '+/'))
END;
CREATE OR REPLACE MACRO internal.sec_uid_text(sec_uid) AS
CASE WHEN internal.sec_uid_bytes(sec_uid) IS NULL THEN sec_uid END;
CREATE OR REPLACE MACRO internal.sec_uid_of(sec_uid_bytes, sec_uid_text) AS
coalesce('MS4wLjABAAAA' || translate(to_base64(sec_uid_bytes), '+/', '-_'), sec_uid_text);

-- The URL of a picture in another size usually differs only at its end: then a plus and the end are
-- stored, otherwise an equals sign and the whole URL.
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

-- The total of a list: the reported one unless more accounts are listed; without one, the number of
-- listed accounts of a complete list.
CREATE OR REPLACE MACRO internal.total_of(listed, reported_total, completeness) AS
coalesce(
    CASE WHEN listed - reported_total <= greatest(2, 0.005 * reported_total) THEN reported_total END,
    CASE WHEN completeness = 'complete' THEN listed END
);

-- The traits of a profile in audience_profile, each with one value, 'unknown' if the list does not show
-- it. p is a row with the columns of internal.churn_profiles.
CREATE OR REPLACE MACRO internal.yes_or_no(said) AS
CASE WHEN said THEN 'yes' WHEN NOT said THEN 'no' ELSE 'unknown' END;
CREATE OR REPLACE MACRO internal.traits(p) AS
list_concat(
    [
        {'trait': 'private', 'value': internal.yes_or_no(p.private_account)},
        {'trait': 'verified', 'value': internal.yes_or_no(p.verified)},
        {'trait': 'picture', 'value': internal.yes_or_no(p.has_picture)},
        {'trait': 'bio', 'value': internal.yes_or_no(p.has_bio)},
        {'trait': 'mass_follower', 'value': internal.yes_or_no(p.following > 1500)},
        {'trait': 'following_per_follower', 'value': CASE
            WHEN p.followers IS NULL OR p.following IS NULL THEN 'unknown'
            WHEN p.followers = 0 THEN 'no followers'
            -- (A product of what an API may say does not fit 64 bits.)
            WHEN p.following / p.followers < 0.5 THEN 'under 0.5'
            WHEN p.following / p.followers < 2 THEN '0.5 to 2'
            WHEN p.following / p.followers < 10 THEN '2 to 10'
            ELSE '10 and more' END},
        {'trait': 'followers', 'value': CASE
            WHEN p.followers IS NULL THEN 'unknown'
            WHEN p.followers < 100 THEN '0 to 99'
            WHEN p.followers < 1000 THEN '100 to 999'
            WHEN p.followers < 10000 THEN '1,000 to 9,999'
            WHEN p.followers < 100000 THEN '10,000 to 99,999'
            ELSE '100,000 and more' END}
    ],
    CASE WHEN p.relation = 'following' THEN [
        {'trait': 'region', 'value': coalesce(upper(p.region), 'unknown')},
        {'trait': 'language', 'value': coalesce(lower(p."language"), 'unknown')},
        {'trait': 'account_age', 'value': CASE
            WHEN p.account_created_at IS NULL THEN 'unknown'
            WHEN p.account_created_at > p.seen_on - INTERVAL 1 YEAR THEN 'under 1 year'
            WHEN p.account_created_at > p.seen_on - INTERVAL 3 YEAR THEN '1 to 3 years'
            WHEN p.account_created_at > p.seen_on - INTERVAL 5 YEAR THEN '3 to 5 years'
            ELSE '5 years and more' END}
    ] ELSE [] END
);
