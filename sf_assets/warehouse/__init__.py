"""DuckDB: what is loaded, derived and published."""
