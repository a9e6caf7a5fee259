"""Asking the published database and printing the answer."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
import duckdb

from sf_assets.home import Home
from sf_assets.settings import Relation, SettingsError
from sf_assets.warehouse.connection import reading


def run_query(home: Home, sql: str | None, form: str, parquet: Path | None) -> None:
    """Run SQL on the published file; table, CSV, JSON to standard output or Parquet to a file.

    Raises SettingsError where nothing is published yet or the SQL is wrong.
    """
    try:
        with reading(home.published) as con:
            relation = con.sql(sql) if sql else con.sql(_TABLES)
            if relation is None:
                return
            if parquet is not None:
                relation.to_parquet(str(parquet))
                click.echo(f"written to {parquet}", err=True)
            elif form == "table":
                _show(relation)
            else:
                _stream(con, relation, form)
    except FileNotFoundError:
        raise SettingsError(
            f"{home.published} is not there yet: it comes with the first snapshot "
            "(sf-assets snapshot)"
        ) from None
    except duckdb.Error as error:
        raise SettingsError(f"query: {error}") from None


_TABLES = """
SELECT table_name AS name, comment AS "one row is"
FROM (
    SELECT view_name AS table_name, comment FROM duckdb_views()
    WHERE schema_name = 'main' AND NOT internal
    UNION ALL
    SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'main'
)
UNION ALL
VALUES
    ('followers_on(handle, day)', 'Table macro: the follower list as it stood on a day.'),
    ('following_on(handle, day)', 'Table macro: the following list as it stood on a day.'),
    ('churn_between(handle, from_day, to_day)', 'Table macro: who came and left between two days.')
"""


def _show(relation: duckdb.DuckDBPyRelation) -> None:
    width = shutil.get_terminal_size((120, 40)).columns
    relation.show(max_width=max(width, 40), max_rows=200)


def _stream(con: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation, form: str) -> None:
    # DuckDB writes both forms itself, nested and dated columns included.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"answer.{form}"
        relation.create_view("answer_of_query", replace=True)
        options = "FORMAT json, ARRAY true" if form == "json" else "FORMAT csv, HEADER true"
        con.execute(f"COPY (FROM answer_of_query) TO '{path}' ({options})")
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def latest_snapshots(home: Home) -> dict[tuple[str, str], dict[str, Any]]:
    """(relation, handle) -> the latest snapshot's day, status, counts and completeness."""
    try:
        with reading(home.published) as con:
            rows = con.execute(
                "SELECT relation, handle, max(snapshot_date), "
                "arg_max(lookup_status, snapshot_date), arg_max(listed, snapshot_date), "
                "max_by(coalesce(CAST(reported_total AS VARCHAR), ''), snapshot_date), "
                "arg_max(completeness, snapshot_date) FROM snapshots GROUP BY ALL"
            ).fetchall()
    except FileNotFoundError:
        return {}
    names = ("last", "status", "listed", "total", "completeness")
    return {(row[0], row[1]): dict(zip(names, row[2:], strict=True)) for row in rows}


def snapshots_of(
    home: Home, day: date, handles: Sequence[str], relations: Sequence[Relation]
) -> tuple[list[str], list[Sequence[Any]]]:
    """What the day's snapshots of these handles hold, with gains and losses."""
    columns = [
        "handle",
        "relation",
        "status",
        "listed",
        "total",
        "completeness",
        "gained",
        "lost",
        "pages",
        "credits",
    ]
    try:
        with reading(home.published) as con:
            rows = con.execute(
                "SELECT s.handle, s.relation, lookup_status, listed, reported_total, completeness, "
                "count(*) FILTER (c.change IN ('gained', 'returned')), "
                "count(*) FILTER (c.change = 'lost'), pages, credits_charged "
                "FROM snapshots AS s LEFT JOIN internal.churn AS c ON c.relation = s.relation "
                "AND c.handle = s.handle AND c.snapshot_date = s.snapshot_date "
                "AND c.state <> 'retracted' "
                "WHERE s.snapshot_date = ? AND list_contains(?, s.handle) "
                "AND list_contains(?, s.relation) GROUP BY ALL ORDER BY s.handle, s.relation",
                [day, list(handles), list(relations)],
            ).fetchall()
    except FileNotFoundError:
        rows = []
    return columns, list(rows)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people; nothing where there are no rows."""
    if not rows:
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = all(isinstance(row[number], int | None) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
