-- The tables that are derived from the snapshots and the archive.

-- One row is one comparison of a snapshot with the last usable one before it: its measures, the claims
-- it allows, and why. A snapshot without such a row is not derived yet. reach is the place down to
-- which a `recent` list was read (below it the list is as in the snapshot before), NULL for other
-- lists. unnamed counts accounts without any identifier.
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

-- One row is one unbroken presence of an account in a list. place orders a list; higher up is larger.
-- looked_on is the last day on which the account was read, if later `recent` lists stopped above it.
-- undecided counts the lists without order since a lost account is back. followed_at is the time from
-- an imported list, followed_at_source its source.
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
    undecided TINYINT,
    followed_at TIMESTAMPTZ,
    followed_at_source VARCHAR
);

-- One row is one claim: an account came, came back or left between two snapshots. misses counts the
-- later lists that would have shown a lost account and lack it; confirmed_on is the day of the list
-- that confirmed the loss.
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

-- One row is one retracted loss: the account was not listed from missed_from to missed_to.
CREATE TABLE IF NOT EXISTS internal.retractions (
    relation VARCHAR,
    handle VARCHAR,
    account_id VARCHAR,
    missed_from DATE,
    missed_to DATE
);

-- One row is one secUid, as a number, that was shown together with a numeric id. All lists of the home
-- share this map, so that one person has one account_id.
CREATE TABLE IF NOT EXISTS internal.ids (
    sec_key UBIGINT,
    account_id VARCHAR
);

-- One row is one handle of an account in a list, for account_renames.
CREATE TABLE IF NOT EXISTS internal.renames (
    relation VARCHAR,
    handle VARCHAR,
    account_id VARCHAR,
    from_handle VARCHAR,
    to_handle VARCHAR,
    seen_on DATE
);

-- One row is the newest known profile of an account, with the digests of the two list entries it is
-- made of, in a compact form; internal.profiles shows it decoded. A secUid is in one of two columns,
-- and picture URLs are stored as differences from avatar_url.
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

-- One row is one value of a trait: the number of accounts with it in a list of a day.
CREATE TABLE IF NOT EXISTS internal.profile_counts (
    relation VARCHAR,
    handle VARCHAR,
    snapshot_date DATE,
    trait VARCHAR,
    "value" VARCHAR,
    accounts BIGINT
);

-- One row is the profile of an account in internal.churn: for a gain from the list that shows it, for a
-- loss from the last list before.
CREATE TABLE IF NOT EXISTS internal.churn_profiles (
    relation VARCHAR,
    handle VARCHAR,
    snapshot_date DATE,
    account_id VARCHAR,
    change VARCHAR,
    verified BOOLEAN,
    private_account BOOLEAN,
    has_picture BOOLEAN,
    has_bio BOOLEAN,
    followers BIGINT,
    following BIGINT,
    region VARCHAR,
    "language" VARCHAR,
    account_created_at TIMESTAMPTZ
);
