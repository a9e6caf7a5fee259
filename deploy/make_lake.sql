-- A database for the lake's catalog, beside Dagster's own.
CREATE DATABASE lake;
