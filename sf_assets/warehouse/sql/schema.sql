-- The warehouse: what people query in schema main, what it is derived with in schema internal.
-- No keys, indexes or sequences, so that the same statements also make a DuckLake.

CREATE SCHEMA IF NOT EXISTS internal;

-- One row: the format of this file, which texts its views and comments were made from, how many
-- bytes it had when it was last copied to free what rewriting had left, the version of the rules
-- that everything derived was made by, and when the file was last written for people.
CREATE TABLE IF NOT EXISTS internal.warehouse_format (
    format INTEGER,
    words VARCHAR,
    copied_size BIGINT,
    rules INTEGER,
    published_at TIMESTAMPTZ
);

-- One row is one relation of one handle on one UTC day, as loaded.
CREATE TABLE IF NOT EXISTS internal.snapshots (
    relation VARCHAR,
    handle VARCHAR,
    snapshot_date DATE,
    lookup_status VARCHAR,
    end_reason VARCHAR,
    completeness VARCHAR,
    exhaustive BOOLEAN,
    listed BIGINT,
    reported_total BIGINT,
    pages INTEGER,
    credits_charged INTEGER,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    run_id VARCHAR,
    attempt INTEGER,
    archive_file VARCHAR,
    damaged_fields BIGINT DEFAULT 0,
    source VARCHAR DEFAULT 'api'
);

-- One row is one comparison of a snapshot with the latest earlier usable one: what was measured,
-- which claims it allows, and why. A snapshot without such a row is still to be derived. reach is
-- the place down to which a reading went that stopped at what is known, null for any other: below
-- it the list is as it was last read. unnamed counts accounts that the list shows without any name.
CREATE TABLE IF NOT EXISTS internal.comparisons (
    relation VARCHAR,
    handle VARCHAR,
    snapshot_date DATE,
    attempt INTEGER,
    pages INTEGER,
    previous_date DATE,
    common BIGINT,
    chain BIGINT,
    order_agreement DOUBLE,
    losses VARCHAR,
    gains VARCHAR,
    reason VARCHAR,
    reach DOUBLE,
    unnamed INTEGER
);

-- One row is one unbroken presence of an account in a list. place orders a list: the larger, the
-- higher up. looked_on is the last day the account was read, where later readings stopped above it.
-- undecided counts the lists without order since an account is back that was claimed lost.
CREATE TABLE IF NOT EXISTS internal.presences (
    relation VARCHAR,
    handle VARCHAR,
    account_id VARCHAR,
    first_seen DATE,
    last_seen DATE,
    start_kind VARCHAR,
    end_kind VARCHAR,
    place DOUBLE,
    account_handle VARCHAR,
    looked_on DATE,
    first_missed DATE,
    followed_after DATE,
    followed_before DATE,
    undecided TINYINT
);

-- One row is one claim: an account came, came back or left between two snapshots. misses counts
-- the later lists that would have shown an account that is claimed lost, and lack it; confirmed_on is
-- the day of the list that confirmed the loss.
CREATE TABLE IF NOT EXISTS internal.churn (
    relation VARCHAR,
    handle VARCHAR,
    snapshot_date DATE,
    previous_date DATE,
    account_id VARCHAR,
    account_handle VARCHAR,
    change VARCHAR,
    state VARCHAR,
    evidence VARCHAR,
    totals_agree BOOLEAN,
    misses TINYINT,
    confirmed_on DATE
);

-- One row is one absence that turned out to be none: not listed from missed_from to missed_to.
CREATE TABLE IF NOT EXISTS internal.healings (
    relation VARCHAR,
    handle VARCHAR,
    account_id VARCHAR,
    missed_from DATE,
    missed_to DATE
);

-- One row is one secUid, as a number, that was shown beside a numeric id: all lists of the home share
-- this map, so that one person is one account_id in all of them.
CREATE TABLE IF NOT EXISTS internal.ids (
    sec_key UBIGINT,
    account_id VARCHAR
);

-- One row is one handle an account was seen under in a list, for account_renames.
CREATE TABLE IF NOT EXISTS internal.renames (
    relation VARCHAR,
    handle VARCHAR,
    account_id VARCHAR,
    from_handle VARCHAR,
    to_handle VARCHAR,
    seen_on DATE
);

-- One row is the newest known profile of an account, with the digests of the two list entries it is
-- made of. Stored as small as it goes; internal.profiles shows what it says. A secUid is in one of
-- two columns, the addresses of the picture as what they add to avatar_url.
CREATE TABLE IF NOT EXISTS internal.stored_profiles (
    account_id VARCHAR,
    account_handle VARCHAR,
    sec_uid_bytes BLOB,
    sec_uid_text VARCHAR,
    display_name VARCHAR,
    bio VARCHAR,
    verified BOOLEAN,
    private_account BOOLEAN,
    followers BIGINT,
    following BIGINT,
    posts BIGINT,
    avatar_url VARCHAR,
    avatar_rests STRUCT("large" VARCHAR, "medium" VARCHAR, "thumb" VARCHAR),
    profile_url VARCHAR,
    region VARCHAR,
    "language" VARCHAR,
    account_created_at TIMESTAMPTZ,
    details VARCHAR,
    followers_digest UINTEGER,
    following_digest UINTEGER
);

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

-- One row is one handle-day of growth.
CREATE TABLE IF NOT EXISTS main.follower_growth (
    handle VARCHAR,
    snapshot_date DATE,
    followers_total BIGINT,
    following_total BIGINT,
    followers_net BIGINT,
    followers_gained BIGINT,
    followers_lost BIGINT,
    followers_lost_provisional BIGINT,
    followers_unknown BIGINT,
    net_unexplained BIGINT,
    growth_rate DOUBLE,
    avg_daily_net_7d DOUBLE,
    avg_daily_net_28d DOUBLE,
    gap_days INTEGER,
    completeness VARCHAR,
    followers_lost_estimate BIGINT
);

-- One row is one change of a lookup status between two snapshots of one list.
CREATE TABLE IF NOT EXISTS main.status_changes (
    relation VARCHAR,
    handle VARCHAR,
    from_status VARCHAR,
    to_status VARCHAR,
    changed_on DATE,
    previous_date DATE,
    change_id VARCHAR
);

-- One row is one attempt at a snapshot and what it cost.
CREATE TABLE IF NOT EXISTS main.credit_ledger (
    snapshot_date DATE,
    handle VARCHAR,
    relation VARCHAR,
    attempt INTEGER,
    pages INTEGER,
    credits INTEGER,
    cached INTEGER,
    retries INTEGER,
    unread INTEGER,
    started_at TIMESTAMPTZ,
    run_id VARCHAR
);

-- One row is one run that asked for lists, with the account's balance before and after it.
CREATE TABLE IF NOT EXISTS main.credit_balances (
    snapshot_date DATE,
    asked_at TIMESTAMPTZ,
    balance_before BIGINT,
    balance_after BIGINT,
    credits BIGINT,
    unexplained BIGINT,
    run_id VARCHAR
);

-- One row is one ledger file of the archive that is in the two tables above.
CREATE TABLE IF NOT EXISTS internal.ledger_files (name VARCHAR);

-- One row is one handle that handles.yaml names, or that it named or that has snapshots.
CREATE TABLE IF NOT EXISTS main.handles (
    handle VARCHAR,
    tags VARCHAR[],
    relations VARCHAR[],
    depth VARCHAR,
    tracked_since DATE,
    tracked_until DATE
);
