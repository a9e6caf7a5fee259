"""Runs queries on the published database and prints tables."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
import duckdb

from sf_assets.cli.common import not_published
from sf_assets.errors import SettingsError
from sf_assets.model import Relation
from sf_assets.storage.home import Home
from sf_assets.text import first_line
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.lake import is_lake
from sf_assets.warehouse.statements import quoted, run_sql

# Without a terminal, print every column and value in full.
_ANY_WIDTH = 1_000_000
_ROWS_ON_TERMINAL, _ROWS_ELSEWHERE = 200, 10_000

# Control characters and direction overrides, which a terminal obeys instead of showing.
_UNSEEN = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
# First characters of cells that spreadsheets compute; the last four are full-width forms.
_FORMULA = r"^[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"


def run_query(
    home: Home, sql: str | None, form: str, file: Path | None, *, sandbox: bool = False
) -> None:
    """Run SQL on the published database and print the answer, or write it to `file`.

    `form`: `table`, `csv` or `json` for standard output, `xlsx` for an Excel file; other files are
    Parquet. Without `sql`, lists the tables. In a sandbox, SQL reaches only the published file and
    a temporary folder. Raises SettingsError if nothing is published yet or the SQL fails.
    """
    if sandbox and home.lake is not None:
        raise SettingsError(
            "query: --sandbox does not work with a lake, because it cannot separate the lake's "
            "files from others"
        )
    try:
        with tempfile.TemporaryDirectory() as folder, reading(home.readable) as con:
            if sandbox:
                con.execute("SET allowed_directories = ?", [[folder]])
                run_sql(con, "sandbox")
            answer = con.sql(sql or _tables(con))
            if answer is None:
                return
            if form == "xlsx" and file is not None:
                write_xlsx(answer, file)
            elif file is not None:
                written = Path(folder) / "answer.parquet" if sandbox else file
                answer.to_parquet(str(written))
                if sandbox:
                    shutil.copyfile(written, file)
            if file is not None:
                click.echo(f"written to {file}", err=True)
            elif form != "table":
                _stream(answer, form, Path(folder) / f"answer.{form}")
            elif sql is None:
                print_table(answer.columns, answer.fetchall())
            else:
                _show(answer)
    except FileNotFoundError:
        raise not_published(home) from None
    except duckdb.Error as error:
        reason = _in_one_line(error)
        if "read-only mode" in reason:
            reason = "the database is read-only; `--parquet FILE` writes the rows of a SELECT"
        raise SettingsError(f"query: {reason}") from None


def _tables(con: duckdb.DuckDBPyConnection) -> str:
    """The query that lists tables, views and macros. A lake has comments on macros in a table."""
    of_macros = (
        "(SELECT meaning FROM column_meanings WHERE table_name = function_name "
        "AND column_name IS NULL)"
        if is_lake(con)
        else "comment"
    )
    return _TABLES.format(of_macros=of_macros)


_TABLES = """
SELECT name, rtrim(regexp_replace(comment, '^One row is ', ''), '.') AS "one row is"
FROM (
    SELECT 1 AS place, view_name AS name, comment FROM duckdb_views()
    WHERE schema_name = 'main' AND NOT internal AND database_name = current_database()
    UNION ALL
    SELECT 1, table_name, comment FROM duckdb_tables()
    WHERE schema_name = 'main' AND database_name = current_database()
    UNION ALL
    SELECT 2, function_name || '(' || replace(array_to_string(parameters, ', '), 'wanted_', '')
        || ')', {of_macros}
    FROM duckdb_functions()
    WHERE schema_name = 'main' AND function_type = 'table_macro' AND NOT internal
        AND database_name = current_database()
)
ORDER BY place, name
"""


def _in_one_line(error: duckdb.Error) -> str:
    """DuckDB's message without its excerpt of the statement, with the line number."""
    message, _, excerpt = str(error).partition("\n\nLINE ")
    number = excerpt.partition(":")[0]
    where = f" (line {number})" if number.isdigit() and number != "1" else ""
    return " ".join(message.split()) + where


def _show(answer: duckdb.DuckDBPyRelation) -> None:
    terminal = sys.stdout.isatty()
    width = max(shutil.get_terminal_size((120, 40)).columns, 40)
    drawn = io.StringIO()
    with contextlib.redirect_stdout(drawn):
        if terminal:
            answer.show(max_width=width, max_rows=_ROWS_ON_TERMINAL)
        else:
            answer.show(max_width=_ANY_WIDTH, max_col_width=_ANY_WIDTH, max_rows=_ROWS_ELSEWHERE)
    # DuckDB escapes ASCII control characters only.
    click.echo(harmless(drawn.getvalue()).rstrip())
    if terminal and re.search(r" columns \(\d+ shown\)", drawn.getvalue()):
        click.echo(
            "Not all columns fit. Select fewer, or use --json or --csv. Columns: "
            + harmless(", ".join(answer.columns)),
            err=True,
        )


def harmless(text: str) -> str:
    """The text without control characters that a terminal would obey."""
    return _UNSEEN.sub("\ufffd", text)


def _stream(answer: duckdb.DuckDBPyRelation, form: str, path: Path) -> None:
    # DuckDB writes both formats itself, including nested columns and dates.
    options = "FORMAT json, ARRAY true" if form == "json" else "FORMAT csv, HEADER true"
    rows = "FROM answer" if form == "json" else _without_formulas(answer)
    answer.query("answer", f"COPY ({rows}) TO {quoted(path)} ({options})")
    if sys.stdout.isatty():  # files get the original text; a terminal would obey it
        click.echo(harmless(path.read_text(encoding="utf-8")), nl=False)
        return
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _without_formulas(answer: duckdb.DuckDBPyRelation) -> str:
    """A query for the same rows in which no text starts a spreadsheet formula."""
    columns = []
    for number, (name, kind) in enumerate(zip(answer.columns, answer.types, strict=True), 1):
        cell = f"#{number}"
        if str(kind) == "VARCHAR":
            is_one = f"regexp_matches({cell}, '{_FORMULA}')"
            cell = f"CASE WHEN {is_one} THEN chr(39) || {cell} ELSE {cell} END"
        columns.append(f"{cell} AS " + quoted(name, '"'))
    return f"SELECT {', '.join(columns)} FROM answer"


# Rows in a sheet, including the header.
_XLSX_ROWS = 1_048_576


def write_xlsx(answer: duckdb.DuckDBPyRelation, path: Path) -> None:
    """Write the rows to an Excel sheet, in which no text is a formula or a link.

    Raises SettingsError if there are more rows than a sheet holds, or the file cannot be written.
    """
    import xlsxwriter
    from xlsxwriter.exceptions import FileCreateError

    options: dict[str, Any] = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
    }
    options |= {"default_date_format": "yyyy-mm-dd", "remove_timezone": True}
    try:
        with xlsxwriter.Workbook(str(path), options) as book:
            head = book.add_format({"bold": True})
            sheet = book.add_worksheet("answer")
            sheet.freeze_panes(1, 0)
            sheet.write_row(0, 0, answer.columns, head)
            count = 0
            while rows := answer.fetchmany(10_000):
                if count + len(rows) >= _XLSX_ROWS:
                    raise SettingsError(
                        f"query: the answer has more than the {_XLSX_ROWS - 1:,} rows of an Excel "
                        "sheet; use --parquet or --csv"
                    )
                for at, row in enumerate(rows, start=count + 1):
                    sheet.write_row(at, 0, map(_cell, row))
                count += len(rows)
            sheet.autofilter(0, 0, count, len(answer.columns) - 1)
    except FileCreateError as error:
        raise SettingsError(f"cannot write {path} ({first_line(error)})") from None


def _cell(value: Any) -> Any:
    """The value as a cell can hold it: ids of 19 digits, lists and structs become text."""
    if isinstance(value, bool | date | str | None):
        return value
    if isinstance(value, int | float) and abs(value) < 2**53:
        return value
    return str(value)


def latest_snapshots(home: Home) -> dict[tuple[str, str], dict[str, Any]]:
    """(relation, handle) -> day, status, counts and completeness of the latest snapshot.

    Prefers snapshots from the API to imported ones.
    """
    try:
        with reading(home.readable) as con:
            rows = con.execute(
                "SELECT relation, handle, snapshot_date, lookup_status, listed, reported_total, "
                "completeness FROM snapshots QUALIFY row_number() OVER (PARTITION BY relation, "
                "handle ORDER BY source = 'api' DESC, snapshot_date DESC) = 1"
            ).fetchall()
    except FileNotFoundError:
        return {}
    names = ("last", "status", "listed", "total", "completeness")
    return {(row[0], row[1]): dict(zip(names, row[2:], strict=True)) for row in rows}


def snapshots_of(
    home: Home, day: date, handles: Sequence[str], relations: Sequence[Relation]
) -> tuple[list[str], list[Sequence[Any]]]:
    """(columns, rows) of the day's snapshots of these handles, with gains and losses."""
    columns = [
        "handle",
        "relation",
        "status",
        "listed",
        "total",
        "completeness",
        "gained",
        "lost",
        "credits",
    ]
    try:
        with reading(home.readable) as con:
            rows = con.execute(
                "SELECT s.handle, s.relation, lookup_status, listed, reported_total, completeness, "
                "count(*) FILTER (c.change IN ('gained', 'returned')), "
                "count(*) FILTER (c.change = 'lost'), credits_charged "
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
    """Print a table; nothing if there are no rows.

    Without a terminal, prints plain text: one line per row, nothing cut.
    """
    if not rows:
        return
    numeric = [all(isinstance(row[at], int | None) for row in rows) for at in range(len(columns))]
    if sys.stdout.isatty():
        _print_drawn(columns, [[_shown(value) for value in row] for row in rows], numeric)
        return
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    lines = [list(columns), *texts]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def _print_drawn(
    columns: Sequence[str], texts: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> None:
    """Print a table no wider than the terminal. If the columns do not fit, the gaps shrink and only
    the widest column wraps."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    inside = [max(cell_len(line[at]) for line in texts) for at in range(len(columns))]
    heads = [
        _in_two_lines(column) if len(column) > width else column
        for column, width in zip(columns, inside, strict=True)
    ]
    high = any("\n" in head for head in heads)
    heads = [f"\n{head}" if high and "\n" not in head else head for head in heads]
    widths = [
        max(width, *(len(part) for part in head.split("\n")))
        for head, width in zip(heads, inside, strict=True)
    ]
    fits = sum(widths) + 2 * (len(columns) - 1) <= console.width
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1) if fits else 0,
        collapse_padding=True,
    )
    wraps = widths.index(max(widths))
    for at, (head, right) in enumerate(zip(heads, numeric, strict=True)):
        table.add_column(
            head,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=at != wraps,
        )
    for line in texts:
        table.add_row(*(Text(text) for text in line))
    console.print(table)


def _in_two_lines(column: str) -> str:
    """`recent_saves` in two lines, for columns with short values."""
    return column.replace("_", "\n", 1)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_json(value: Any) -> None:
    """Print a JSON document; dates as YYYY-MM-DD."""
    click.echo(json.dumps(value, indent=2, default=str))
