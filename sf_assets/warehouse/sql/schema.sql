-- The loaded tables, and the format of the warehouse. People query schema main, which is made from
-- schema internal. No keys, indexes or sequences, so that the same statements work for a DuckLake.

CREATE SCHEMA IF NOT EXISTS internal;

-- One row: the format of this file, a digest of its views and comments, its size in bytes after the
-- last compaction, the version of the rules of proof, and when it was last written for people.
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
    source VARCHAR DEFAULT 'api',
    ordered BOOLEAN DEFAULT true,
    imported_file VARCHAR,
    measures VARCHAR
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

-- One row is one run that read lists, with the balance before and after it.
CREATE TABLE IF NOT EXISTS main.credit_balances (
    snapshot_date DATE,
    asked_at TIMESTAMPTZ,
    balance_before BIGINT,
    balance_after BIGINT,
    credits BIGINT,
    unexplained BIGINT,
    run_id VARCHAR
);

-- One row is one ledger file of the archive that is loaded into the two tables above.
CREATE TABLE IF NOT EXISTS internal.ledger_files (name VARCHAR);

-- One row is one handle that is or was in handles.yaml, or has snapshots.
CREATE TABLE IF NOT EXISTS main.handles (
    handle VARCHAR,
    tags VARCHAR[],
    relations VARCHAR[],
    depth VARCHAR,
    tracked_since DATE,
    tracked_until DATE,
    continued DATE[]
);

-- One row is one note in annotations.yaml about some days of a handle, a tag, or all handles.
CREATE TABLE IF NOT EXISTS main.annotations (
    annotation VARCHAR,
    handle VARCHAR,
    tag VARCHAR,
    first_day DATE,
    last_day DATE,
    "text" VARCHAR
);
