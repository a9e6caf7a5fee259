"""Attaches a DuckLake instead of the warehouse file.

The lake is the default catalog of an in-memory DuckDB, so all statements are the same as for the
file. Readers attach it read-only. Writers commit at any time; if two commits change the same rows,
the second one is repeated.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import duckdb

from sf_assets.storage import object_store
from sf_assets.storage.address import Lake
from sf_assets.storage.object_store import is_remote, s3_secret
from sf_assets.text import first_line
from sf_assets.warehouse.statements import STORAGE_VERSION, quoted

# The catalog name: sf_assets.main.follower_growth, as in the file.
NAME = "sf_assets"
# Separates DuckLake's own tables from others in the database, such as Dagster's.
METADATA_SCHEMA = "sf_assets"

_NOT_THERE = "creating a new DuckLake is explicitly disabled"


def attach(lake: Lake, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the lake as its default catalog.

    Raises duckdb.Error unchanged (the caller must hide the password), and FileNotFoundError if a
    lake to read does not exist.
    """
    # Also the version of a catalog that is a DuckDB file.
    con = duckdb.connect(":memory:", config={"storage_compatibility_version": STORAGE_VERSION})
    try:
        con.execute("SET TimeZone = 'UTC'")
        # By default DuckDB would spill into the current folder.
        spill = Path(tempfile.gettempdir()) / f"sf_assets-{os.getpid()}"
        con.execute("SET temp_directory = ?", [str(spill)])
        attach_to(con, lake, NAME, read_only=read_only)
        con.execute(f"USE {NAME}")
    except BaseException as error:
        con.close()
        if read_only and isinstance(error, duckdb.Error) and _NOT_THERE in str(error):
            raise FileNotFoundError(str(lake)) from None
        raise
    return con


def attach_to(con: duckdb.DuckDBPyConnection, lake: Lake, name: str, *, read_only: bool) -> None:
    """Attach the lake under a name to an open connection. Raises duckdb.Error."""
    load_extension(con, "ducklake")
    if lake.on_postgres:
        load_extension(con, "postgres_scanner")
    use_s3(con, lake.data)
    if lake.catalog_file is not None:
        if read_only and not lake.catalog_file.exists():
            raise FileNotFoundError(str(lake))
        lake.catalog_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_remote(lake.data) and not read_only:
        Path(lake.data).mkdir(parents=True, exist_ok=True, mode=0o700)
    options = [f"DATA_PATH {quoted(lake.data)}"]
    if lake.on_postgres:
        options.append(f"METADATA_SCHEMA '{METADATA_SCHEMA}'")
    if read_only:
        options.append("READ_ONLY")
    # Commits that only add rows never conflict; they wait for the next version number.
    con.execute("SET ducklake_max_retry_count = 100")
    con.execute(f"ATTACH {quoted(lake.address)} AS {name} ({', '.join(options)})")


def use_s3(con: duckdb.DuckDBPyConnection, *places: object) -> None:
    """Let this connection use S3 if one of the places is there. Raises SettingsError."""
    if not any(is_remote(str(place)) for place in places):
        return
    load_extension(con, "httpfs")
    # The same waits as our own client: half a minute of errors, ten seconds per response.
    for setting in (f"http_timeout = {object_store.ANSWER_SECONDS}", "http_retries = 8",
                    "http_retry_wait_ms = 100", "http_retry_backoff = 2"):  # fmt: skip
        con.execute(f"SET {setting}")
    settings = ", ".join(
        f"{name} {value if isinstance(value, bool) else quoted(value)}"
        for name, value in s3_secret().items()
    )
    con.execute(f"CREATE OR REPLACE SECRET sf_assets_s3 (TYPE s3, {settings})")


def is_lake(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the tables of this connection are in a lake."""
    return bool(con.execute(_IS_LAKE).fetchall()[0][0])


_IS_LAKE = """
SELECT coalesce(any_value(type), '') <> 'duckdb'
FROM duckdb_databases() WHERE database_name = current_database()
"""


def maintain(con: duckdb.DuckDBPyConnection) -> None:
    """Merge the small files of many commits, and drop versions older than 30 days.

    Raises duckdb.Error, which callers log, because the next derivation repeats it.
    """
    if is_lake(con):
        con.execute("CHECKPOINT")


def drop_versions(con: duckdb.DuckDBPyConnection) -> None:
    """Drop all old versions of a lake and their files. Raises duckdb.Error."""
    # Otherwise a file would stay after all its rows are deleted.
    for step in ("rewrite_data_files('{}', delete_threshold => 0)",
                 "expire_snapshots('{}', older_than => now())",
                 "cleanup_old_files('{}', cleanup_all => true)"):  # fmt: skip
        con.execute(f"CALL ducklake_{step.format(NAME)}").fetchall()  # runs only when fetched


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension from its Python package if the version fits, else from DuckDB's site.

    Raises duckdb.Error if neither has it.
    """
    version = duckdb.__version__
    folders = None
    with suppress(ImportError):
        folders = importlib.import_module(f"duckdb_extension_{name}").__path__
    for folder in folders or ():
        file = Path(folder) / "extensions" / f"v{version}" / f"{name}.duckdb_extension"
        if file.exists():
            con.execute(f"LOAD {quoted(file)}")
            return
    try:
        con.execute(f"INSTALL {name}")
        con.execute(f"LOAD {name}")
    except duckdb.Error as error:
        package = f"duckdb-extension-{name.replace('_', '-')}"
        state = "has another version" if folders else "is not installed"
        raise duckdb.IOException(
            f"DuckDB {version} needs its extension {name}: the package {package} {state}, and "
            f"DuckDB's own site cannot be reached ({first_line(error)}). Connect this machine to "
            "it once, or run pip install 'sf_assets[scale-offline]'"
        ) from None
