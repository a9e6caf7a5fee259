"""Creates and upgrades the warehouse: tables, views, macros and comments.

A warehouse of an older version is upgraded when it is opened for writing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb

from sf_assets import __version__
from sf_assets.storage.address import Lake
from sf_assets.warehouse.errors import WarehouseUnreadable
from sf_assets.warehouse.statements import quoted, run_sql, sql, transaction

WAREHOUSE_FORMAT = 9
#: The oldest format that is upgraded. Older ones were never released.
OLDEST_FORMAT = 4
#: The version of the rules of proof. If it changes, all lists are derived again.
RULES = 5

# All tables with loaded or derived data.
TABLES = (
    "internal.snapshots",
    "internal.comparisons",
    "internal.presences",
    "internal.churn",
    "internal.retractions",
    "internal.ids",
    "internal.renames",
    "internal.stored_profiles",
    "internal.profile_counts",
    "internal.churn_profiles",
    "main.follower_growth",
    "main.status_changes",
    "main.handles",
    "main.annotations",
    "main.credit_ledger",
    "main.credit_balances",
    "internal.ledger_files",
)

# The loaded tables. The others are derived from them and from the archive.
LOADED = (
    "internal.snapshots",
    "main.handles",
    "main.annotations",
    "main.credit_ledger",
    "main.credit_balances",
    "internal.ledger_files",
)


def format_of(con: duckdb.DuckDBPyConnection) -> int | None:
    """The format of an open warehouse; None without tables."""
    known = con.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'internal' "
        "AND table_name = 'warehouse_format'"
    ).fetchall()[0][0]
    if not known:
        return None
    found = con.execute("SELECT max(format) FROM internal.warehouse_format").fetchall()[0][0]
    return None if found is None else int(found)


def prepare(con: duckdb.DuckDBPyConnection, where: Path | Lake) -> None:
    """Create the tables, or upgrade those of an older version, with views and comments.

    Uses one transaction. Raises WarehouseUnreadable for a newer format; then nothing is changed.
    """
    con.execute("SET TimeZone = 'UTC'")
    found = format_of(con)
    made_as = WAREHOUSE_FORMAT if found is None else found
    if made_as > WAREHOUSE_FORMAT:
        raise WarehouseUnreadable(
            f"{where} has format {made_as}, made by a newer sf_assets; this one knows formats "
            f"up to {WAREHOUSE_FORMAT}. Upgrade sf_assets; nothing was changed"
        )
    # Views and comments hold no data, so they are replaced if they changed.
    words = _words()
    if found == WAREHOUSE_FORMAT:
        known_words = con.execute("SELECT any_value(words) FROM internal.warehouse_format")
        if known_words.fetchall() == [(words,)]:
            return
    with transaction(con):
        if found is None:
            _make_tables(con)
            if isinstance(where, Lake):
                run_sql(con, "lake")
            con.execute(
                "INSERT INTO internal.warehouse_format (format, words, rules) VALUES (?, '', ?)",
                [WAREHOUSE_FORMAT, RULES],
            )
        elif made_as < WAREHOUSE_FORMAT:
            if made_as < OLDEST_FORMAT:
                raise WarehouseUnreadable(
                    f"{where} has format {made_as}, which this sf_assets can no longer upgrade; "
                    "run `sf-assets rebuild`, which recreates it from the archive and buys nothing"
                )
            for newer in range(made_as + 1, WAREHOUSE_FORMAT + 1):
                run_sql(con, f"upgrade_{newer}")
            con.execute("UPDATE internal.warehouse_format SET format = ?", [WAREHOUSE_FORMAT])
        if found is not None:
            _make_tables(con)  # creates missing tables
        of_a_lake = isinstance(where, Lake)
        views = _views()
        con.execute(_ON_MACRO.sub("", views) if of_a_lake else views)
        _comment_columns(con, views_too=not of_a_lake)
        con.execute("UPDATE internal.warehouse_format SET words = ?", [words])


def make_empty(con: duckdb.DuckDBPyConnection) -> None:
    """Create all tables and views, without column comments and without a format."""
    _make_tables(con)
    con.execute(_views())


def _make_tables(con: duckdb.DuckDBPyConnection) -> None:
    for name in ("schema", "schema_macros", "schema_derived"):
        run_sql(con, name)


@cache
def _views() -> str:
    """The statements that create all views and macros, with their comments."""
    names = (
        "views",
        "views_lists",
        "views_people",
        "views_questions",
        "views_events",
        "views_api",
        "comments",
    )
    return "\n".join(map(sql, names)).replace("{version}", __version__)


@cache
def _words() -> str:
    """A digest of the current views and comments."""
    texts = _views() + (resources.files(__package__) / "sql" / "columns.yaml").read_text("utf-8")
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


def column_comments() -> dict[str, dict[str, str]]:
    """Table or view -> column -> its meaning."""
    import yaml

    text = (resources.files(__package__) / "sql" / "columns.yaml").read_text(encoding="utf-8")
    comments = yaml.safe_load(text)
    return {
        name: columns
        if not name.startswith(("follower_", "following_")) or "relation" not in columns
        else {key: value for key, value in columns.items() if key != "relation"}
        for name, columns in comments.items()
        if name != "churn"
    }


# A lake has no comments on table macros.
_ON_MACRO = re.compile(r"^COMMENT ON MACRO TABLE main\.(\w+) IS ('.*');$", re.MULTILINE)


def _comment_columns(con: duckdb.DuckDBPyConnection, *, views_too: bool) -> None:
    """Comment on columns. A lake has no comments on macros and on columns of views, so there
    `column_meanings` has all of them (without a column for a macro)."""
    tables = {
        name
        for (name,) in con.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = 'main' AND table_type = 'BASE TABLE'"
        ).fetchall()
    }
    rows = []
    for name, columns in column_comments().items():
        for column, meaning in columns.items():
            rows.append(f"('{name}', '{column}', {quoted(meaning)})")
            if views_too or name in tables:
                con.execute(f"COMMENT ON COLUMN main.{name}.{column} IS {quoted(meaning)}")
    if not views_too:
        rows += [f"('{name}', NULL, {text})" for name, text in _ON_MACRO.findall(sql("comments"))]
        con.execute(
            f"CREATE OR REPLACE VIEW main.column_meanings AS FROM (VALUES {', '.join(rows)}) "
            "AS meanings(table_name, column_name, meaning)"
        )
        con.execute(
            "COMMENT ON VIEW main.column_meanings IS 'One row is one column and its meaning.'"
        )


def fingerprint(
    con: duckdb.DuckDBPyConnection, table: str, columns_of: str, without: Collection[str] = ()
) -> tuple[int, int]:
    """The number of rows of a table and a checksum over them.

    Covers the columns of `columns_of` except those in `without`. Reads all rows, so a damaged block
    raises duckdb.Error.
    """
    described = con.execute(f"DESCRIBE {columns_of}").fetchall()
    # Ordered by name, because an upgrade adds columns at the end.
    names = sorted(name for (name, *_) in described if name not in without)
    columns = ", ".join(quoted(name, '"') for name in names)
    found = con.execute(
        f"SELECT count(*), coalesce(sum(CAST(hash({columns}) AS HUGEINT)), 0) FROM {table}"
    ).fetchall()[0]
    return int(found[0]), int(found[1])
