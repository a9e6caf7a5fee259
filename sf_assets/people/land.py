"""Imports a list from a file: what it shows, what it proves, and how it gets into the archive."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from sf_assets.errors import SettingsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.privacy import door_of
from sf_assets.model import Relation, SnapshotKey
from sf_assets.people.days import parse_days
from sf_assets.people.errors import ImportRefused
from sf_assets.people.forget_rows import through_door
from sf_assets.people.read import Source, read
from sf_assets.people.shapes import FIELDS, NAMES, SAMPLE, ColumnMap, Shape, find, plain_name
from sf_assets.storage.home import Home
from sf_assets.text import clean, counted
from sf_assets.warehouse.alignment import completeness
from sf_assets.warehouse.archive import SnapshotRow, read_archive, write_import
from sf_assets.warehouse.connection import committed, reading, writing
from sf_assets.warehouse.load import loaded_rows, record
from sf_assets.warehouse.rebuild import newest_of
from sf_assets.warehouse.statements import put_table, run_sql, sql

Order = Literal["newest", "oldest"]

# Attempt numbers of imports. Lower than those of API snapshots, which start at 1; totals are lower
# than lists.
LIST_ATTEMPT, COUNTS_ATTEMPT = -1_000_000, -2_000_000
_SHOWN = 3
# The largest value of a column of totals.
MOST = 2**63 - 1
# Thousands separators; `1,5` is not a number of accounts.
_GROUPED = re.compile(r"(?<=\d)[, \u00a0\u202f](\d{3})(?!\d)")
# Problems that import_facts.sql reports with their first line.
_WRONG = {
    "header": "the header is repeated; a file must have one list",
    "other": "this row belongs to {text}, not {handle}; a file must have the list of one profile",
    "time": "{text} is not a follow time; write it as 2026-11-27 13:45:00 (UTC)",
}


@dataclass(frozen=True)
class ImportOptions:
    """What the user states about the files of an import."""

    handle: str
    relation: Relation
    name: str
    total: int | None = None
    everyone: bool = False
    window: bool = False
    order: Order | None = None
    columns: ColumnMap | None = None
    encoding: str | None = None
    replace: bool = False

    @property
    def source(self) -> str:
        """The source of the snapshots, as in the column `source`."""
        return f"import:{self.name}"


@dataclass
class FileContent:
    """The interpretation of a file, ready to import from `con`."""

    con: duckdb.DuckDBPyConnection = field(repr=False)
    source: Source
    shape: Shape | None
    rows: list[SnapshotRow]
    facts: dict[str, Any]
    notes: list[str]
    claim: str
    sample: list[tuple[Any, ...]]


@dataclass
class ImportResult:
    """The result of an import: `new` snapshots, `known` ones that were imported before, the number
    `kept` of totals that a list outranks, and whether a derivation `waits`."""

    new: list[SnapshotRow] = field(default_factory=list)
    known: list[SnapshotRow] = field(default_factory=list)
    kept: int = 0
    waits: bool = False


def understand(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    options: ImportOptions,
    day: date | None,
    today: date,
) -> FileContent:
    """Read a file into temporary tables of `con`, which `in_memory` created.

    Raises ImportRefused with the file and line of the first problem.
    """
    source = read(con, path, _scratch(con), options.relation, options.encoding)
    sample = _records(con, source)
    shape = find(sample, options.relation, options.columns, source.name)
    last = (
        _records(con, source, "ORDER BY line DESC LIMIT 1")[0]
        if shape.more or shape.total
        else None
    )
    if shape.rows is not None:
        con.execute("SET VARIABLE import_list = ?", [shape.rows])
        run_sql(con, "import_unnest")
        source = replace(source, unit="entry")
    pointers = [shape.fields.get(name, "/\x01") for name in FIELDS]
    titles = [_title(shape.fields[name]) if name in shape.fields else None for name in FIELDS]
    con.execute("SET VARIABLE import_titles = ?", [titles])
    con.execute("SET VARIABLE import_pointers = ?", [pointers])
    con.execute("SET VARIABLE import_handle = ?", [options.handle])
    con.execute("SET VARIABLE import_relation = ?", [options.relation])
    run_sql(con, "valid_ids")
    run_sql(con, "import_rows")
    cursor = con.execute(sql("import_facts"))
    names = [column[0] for column in cursor.description or ()]
    facts = dict(zip(names, cursor.fetchall()[0], strict=True))
    _refuse_rows(facts, source, options)
    days = _days(con, source, day, today)
    if facts["last_time"] is not None and facts["last_time"].date() > max(days):
        raise ImportRefused(
            f"{source.at(facts['last_time_line'])}: this account followed on "
            f"{facts['last_time']:%Y-%m-%d}, after {max(days)}, the day of the list"
        )
    order, notes = _order(options, shape, facts, source)
    con.execute("SET VARIABLE import_order = ?", [order or "newest"])
    run_sql(con, "import_accounts")
    listed = dict(
        con.execute("SELECT snapshot_date, count(*) FROM import_accounts GROUP BY ALL").fetchall()
    )
    shown_total = _total(_at(last, shape.total)) if shape.total else None
    cut = _cut(listed, shown_total, bool(shape.more and _at(last, shape.more)))
    rows, claim = _claims(options, source, listed, facts, order is not None, shown_total, cut)
    nameless = facts["rows"] - facts["named"]
    duplicates = facts["rows"] - nameless - sum(listed.values())
    if duplicates:
        notes.append(f"{counted(duplicates, 'duplicate row')} ignored")
    if nameless:
        notes.append(
            f"{counted(nameless, 'row')} without a username, the first in "
            f"{source.unit} {facts['line_without']}"
        )
    return FileContent(
        con, source, shape, rows, facts, notes, claim,
        con.execute(
            "SELECT account_handle, platform_user_id, display_name, followed_at "
            "FROM import_accounts ORDER BY snapshot_date, position LIMIT ?", [_SHOWN],
        ).fetchall(),
    )  # fmt: skip


def understand_counts(
    con: duckdb.DuckDBPyConnection, path: Path, options: ImportOptions, today: date
) -> FileContent:
    """Read a table of days with totals and no lists. Raises ImportRefused."""
    source = read(con, path, _scratch(con), options.relation, options.encoding)
    records = _records(con, source, "ORDER BY line")
    lines = [line for (line,) in con.execute("SELECT line FROM records ORDER BY ALL").fetchall()]
    keys = {plain_name(key): key for row in records if isinstance(row, dict) for key in row}
    day_key = next((keys[name] for name in ("date", "day", "snapshotdate") if name in keys), None)
    totals: dict[Relation, str | None] = {
        "followers": next(
            (keys[name] for name in (*NAMES["followers"], "followerstotal", "subscribers")
             if name in keys), None),
        "following": next(
            (keys[name] for name in (*NAMES["following"], "followingtotal") if name in keys), None),
    }  # fmt: skip
    if day_key is None or not any(totals.values()):
        raise ImportRefused(
            f"{source.name}: --counts needs a column `date` and a column `followers` or "
            f"`following`; the columns are {', '.join(keys.values()) or 'none'}"
        )
    texts = [None if row.get(day_key) is None else str(row[day_key]) for row in records]
    days = parse_days(texts, map(source.at, lines))
    rows: dict[SnapshotKey, SnapshotRow] = {}
    for line, day, row in zip(lines, days, records, strict=True):
        _refuse_future(day, today, source.at(line))
        for relation, key in totals.items():
            text = "" if key is None or row.get(key) is None else str(row[key]).strip()
            if not text:
                continue
            number = _GROUPED.sub(r"\1", text).removesuffix(".0")
            if not (number.isascii() and number.isdecimal() and int(number) <= MOST):
                raise ImportRefused(
                    f"{source.at(line)}: {clean(text)!r} is not a number of {relation}"
                )
            made = _row(
                replace(options, relation=relation), source, day, "counts", 0, int(number),
                attempt=COUNTS_ATTEMPT,
            )  # fmt: skip
            if rows.setdefault(made.key, made).reported_total != made.reported_total:
                raise ImportRefused(
                    f"{source.at(line)}: {day} has a different number of {relation} above"
                )
    if not rows:
        raise ImportRefused(f"{source.name}: contains no numbers")
    _no_accounts(con)
    return FileContent(
        con, source, None, list(rows.values()), {"rows": len(records)}, [],
        "totals only; not who followed or unfollowed",
        [(row.snapshot_date, row.key.relation, row.reported_total) for row in rows.values()][
            :_SHOWN
        ],
    )  # fmt: skip


def _no_accounts(con: duckdb.DuckDBPyConnection) -> None:
    """Create an empty `import_accounts`."""
    con.execute("CREATE OR REPLACE TEMP TABLE records AS SELECT 1 AS line, NULL::JSON AS record")
    con.execute("SET VARIABLE import_pointers = ?", [["/\x01"] * len(FIELDS)])
    run_sql(con, "valid_ids")
    run_sql(con, "import_rows")
    put_table(con, "import_days", pa.table({"day": pa.array([], pa.string()),
        "snapshot_date": pa.array([], pa.date32())}))  # fmt: skip
    run_sql(con, "import_accounts")


@contextmanager
def in_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory for `understand`, with its own scratch folder."""
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET threads = 1")  # keeps line numbers in order
        con.execute("SET temp_directory = ?", [f"{scratch}/spilled"])
        con.execute("SET VARIABLE import_scratch = ?", [scratch])
        yield con


def _scratch(con: duckdb.DuckDBPyConnection) -> Path:
    return Path(con.execute("SELECT getvariable('import_scratch')").fetchall()[0][0])


def _records(
    con: duckdb.DuckDBPyConnection, source: Source, which: str = f"LIMIT {SAMPLE}"
) -> list[Any]:
    rows = con.execute(f"SELECT record FROM records {which}").fetchall()
    try:
        return [json.loads(record) for (record,) in rows]
    except RecursionError:
        raise ImportRefused(f"{source.name}: nested too deeply") from None


def _at(record: Any, pointer: str) -> Any:
    for part in pointer.strip("/").split("/"):
        record = record.get(part.replace("~1", "/").replace("~0", "~"), None) if record else None
    return record


def _total(value: Any) -> int | None:
    """The total on a page; None if the value is not a valid total."""
    return value if type(value) is int and 0 <= value <= MOST else None


def _title(pointer: str) -> str:
    return pointer[1:].replace("~1", "/").replace("~0", "~")


def _refuse_rows(facts: dict[str, Any], source: Source, options: ImportOptions) -> None:
    if not facts["rows"]:
        raise ImportRefused(f"{source.name}: no rows for {options.relation}")
    for what, problem in _WRONG.items():
        if facts[f"line_of_{what}"] is not None:
            text = "" if facts[what] is None else repr(clean(facts[what]))
            raise ImportRefused(
                f"{source.at(facts[f'line_of_{what}'])}: "
                + problem.format(text=text, handle=options.handle)
            )
    without = facts["rows"] - facts["named"]
    if without * 2 >= facts["rows"]:
        text = facts["said_without"]
        raise ImportRefused(
            f"{source.at(facts['line_without'])}: "
            f"{'nothing' if text is None else repr(clean(text))} is not a username; "
            f"{without:,} of {counted(facts['rows'], 'row')} have none"
        )


def _refuse_future(day: date, today: date, where: str) -> None:
    if day > today:
        raise ImportRefused(f"{where}: {day} is in the future (UTC)")


def _days(
    con: duckdb.DuckDBPyConnection, source: Source, day: date | None, today: date
) -> list[date]:
    """The days of the lists in a file: the given one, or those of its rows."""
    rows = con.execute("SELECT day, min(line) FROM import_rows GROUP BY ALL ORDER BY 2").fetchall()
    texts: list[str | None] = [text for text, _ in rows]
    if texts == [None] and day is not None:
        days = [day]
    elif None in texts:
        raise ImportRefused(
            f"{source.name}: unknown day; give --day 2026-11-27, or --day with a pattern of the "
            "file name, such as 'followers_{date}.csv'"
            if day is None
            else f"{source.at(dict(rows)[None])}: this row has no day, but others have one"
        )
    else:
        days = parse_days(texts, [source.at(line) for _, line in rows])
        if day is not None and set(days) != {day}:
            other = next(own for own in days if own != day)
            raise ImportRefused(
                f"{source.name}: its rows are from {other}, not {day}; leave out --day"
            )
    for own in days:
        _refuse_future(own, today, source.name)
    put_table(
        con,
        "import_days",
        pa.table({"day": pa.array(texts, pa.string()), "snapshot_date": pa.array(days)}),
    )
    return days


def _order(
    options: ImportOptions, shape: Shape, facts: dict[str, Any], source: Source
) -> tuple[str | None, list[str]]:
    """The order of the rows, None if unknown, and notes."""
    if facts["times"] == facts["rows"]:
        return "time", []
    order = options.order or ("newest" if options.window or shape.newest_first else None)
    notes = []
    if order is not None and facts["sorted"] and facts["rows"] >= 5:
        if options.order or options.window:
            raise ImportRefused(
                f"{source.name}: sorted by username or id, so not in the order of the follows"
            )
        order = None
    if facts["rounded"] and facts["rounded"] > 0.2 * facts["rows"]:
        notes.append("ids are rounded, as spreadsheets do, and left out")
    return order, notes


def _cut(listed: dict[date, int], total: int | None, more: bool) -> str | None:
    """A sign that the list is cut off, or None."""
    most = max(listed.values(), default=0)
    if more:
        return "its last page announces more"
    if total is not None and total > most:
        return f"its pages show a total of {total:,}"
    if most >= 1_000 and most % 1_000 == 0:
        return f"{most:,} accounts look like a limit"
    return None


def _claims(
    options: ImportOptions, source: Source, listed: dict[date, int], facts: dict[str, Any],
    ordered: bool, shown_total: int | None, cut: str | None,
) -> tuple[list[SnapshotRow], str]:  # fmt: skip
    """The snapshots of a file, and a sentence about what they prove."""
    if len(listed) > 1 and options.total is not None:
        raise ImportRefused(f"{source.name}: has {len(listed)} days; --total is for one")
    if options.everyone and cut is not None:
        raise ImportRefused(
            f"{source.name}: seems incomplete: {cut}. If TikTok showed this number on that day, "
            "give it with --total; otherwise use --window"
        )
    nameless = facts["rows"] - facts["named"]
    total = options.total if options.total is not None else shown_total
    rows = []
    for day, accounts in sorted(listed.items()):
        full = options.everyone or options.total == accounts
        end = "exhausted" if full else "page_limit" if options.window else "partial"
        own = accounts if full else total
        row = _row(options, source, day, end, accounts, own, ordered=ordered, damaged=nameless)
        rows.append(row)
    in_order = (
        "; in the order of the follows, newest first, if the neighbouring days agree"
        if ordered else "; in no particular order"
    )  # fmt: skip
    if all(row.exhaustive for row in rows):
        return rows, f"the full list: accounts not in it do not follow{in_order}"
    why = ""
    if nameless and (options.everyone or options.total is not None):
        why = " (not the full list: rows without a username may be anybody)"
    elif options.total is not None:
        why = f" (not the full list: {max(listed.values()):,} of {options.total:,} are listed)"
    if options.window:
        return rows, f"the newest part of the list{why}{in_order}"
    return rows, (
        f"accounts in the list followed; nothing about others{why}. Compared only if there is "
        "no earlier list; add --everyone, --total N or --window for more"
    )


def _row(
    options: ImportOptions, source: Source, day: date, end: str, listed: int, total: int | None,
    *, ordered: bool = False, damaged: int = 0, attempt: int = LIST_ATTEMPT,
) -> SnapshotRow:  # fmt: skip
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    shows = completeness("found", end, listed, total)
    return SnapshotRow(
        options.relation, options.handle, day, "found", end,
        "window" if damaged and shows == "complete" else shows,
        listed, total, 0, 0, now, now, source.digest, attempt, "", damaged, options.source,
        ordered, source.name,
    )  # fmt: skip


def land(home: Home, content: FileContent, options: ImportOptions) -> ImportResult:
    """Archive and load the interpreted file in one transaction. If it fails, nothing is stored.

    Forgotten people become tombstones. Raises ImportRefused if a day already exists and --replace
    is not set, PrivacyRefused.
    """
    con = content.con
    with writing(home.writable) as warehouse:
        landed = _beside(warehouse, content, options)
        if landed.new:
            through_door(con, door_of(home, registry_in_force(home.registry, keep=False)[0]))
            attempts = {row.snapshot_date: row.attempt for row in landed.new}
            put_table(
                con,
                "import_attempts",
                pa.table({"snapshot_date": pa.array(attempts), "attempt": pa.array(
                    attempts.values(), pa.int32())}),
            )  # fmt: skip
            accounts = sql("import_list").replace("{profile_digest}", sql("profile_digest"))
            landed.new = write_import(con, home.archive, landed.new, accounts)
            committed(warehouse, "load", lambda: record(warehouse, landed.new))
        landed.waits = bool(warehouse.execute("FROM internal.waiting LIMIT 1").fetchall())
    return landed


def look(home: Home, content: FileContent, options: ImportOptions) -> ImportResult:
    """What `land` would do, without doing it. Raises ImportRefused like `land`."""
    try:
        with reading(home.readable) as warehouse:
            return _beside(warehouse, content, options)
    except (FileNotFoundError, duckdb.Error):  # no published file yet, or one of an older version
        return ImportResult(content.rows)


def _beside(
    warehouse: duckdb.DuckDBPyConnection, content: FileContent, options: ImportOptions
) -> ImportResult:
    """Which of the rows are new, compared with the loaded ones."""
    landed = ImportResult()
    there = {row.key: row for row in loaded_rows(warehouse, [row.key for row in content.rows])}
    for row in content.rows:
        before = there.get(row.key)
        if before is None:
            landed.new.append(row)
        elif _same(before, row):
            landed.known.append(before)
        elif row.attempt == COUNTS_ATTEMPT and before.end_reason != "counts":
            landed.kept += 1  # a list outranks a total
        elif before.end_reason == "counts" and row.attempt > before.attempt:
            landed.new.append(row)
        elif options.replace:
            landed.new.append(replace(row, attempt=before.attempt + 1))
        else:
            origin = f"from {before.source}" if before.imported else "from the API"
            raise ImportRefused(
                f"{content.source.name}: {row.key} already exists {origin}; nothing of the file is "
                "imported. Add --replace to replace it"
            )
    return landed


def _same(one: SnapshotRow, other: SnapshotRow) -> bool:
    """Whether the same file was imported before, with the same claims."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("run_id", "source", "end_reason", "reported_total", "ordered")
    )


def remove(home: Home, name: str) -> list[SnapshotRow]:
    """Remove an import from warehouse and archive; snapshots that it replaced apply again.

    Returns the removed snapshots, none if they were removed and are still published. The caller
    must derive afterwards. Raises SettingsError if no import has that name.
    """
    source = f"import:{name}"
    archived = list(read_archive(home.archive))
    gone = [row for row in archived if row.source == source]
    if not gone and _published(home, name):
        return []
    if not gone:
        known = sorted({row.source[7:] for row in archived if row.imported})
        raise SettingsError(
            f"import: no import is called {name!r}; there is {', '.join(known) or 'none'}"
        )
    keys = {row.key for row in gone}
    left = newest_of(row for row in archived if row.source != source and row.key in keys)

    def forget() -> None:
        warehouse.execute("SET VARIABLE import_source = ?", [source])
        run_sql(warehouse, "import_remove")
        if left:
            record(warehouse, list(left.values()))

    with writing(home.writable) as warehouse:
        committed(warehouse, "load", forget)
        for file in {row.archive_file for row in gone}:
            (home.archive / file).unlink()
    return gone


def _published(home: Home, name: str) -> bool:
    """Whether readers still see the import."""
    with suppress(FileNotFoundError, duckdb.Error), reading(home.readable) as con:
        return bool(con.execute("FROM imports WHERE name = ? LIMIT 1", [name]).fetchall())
    return False
