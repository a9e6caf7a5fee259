-- What workers share beside the lake: lines of small files, and counts of credits.
CREATE SCHEMA IF NOT EXISTS sf_assets_home;
CREATE TABLE IF NOT EXISTS sf_assets_home.lines (
    name VARCHAR NOT NULL,
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line VARCHAR NOT NULL
);
CREATE INDEX IF NOT EXISTS lines_by_name ON sf_assets_home.lines (name, id);
CREATE TABLE IF NOT EXISTS sf_assets_home.counts (name VARCHAR PRIMARY KEY, n BIGINT NOT NULL, step BIGINT)
