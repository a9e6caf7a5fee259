"""A list in a file: what it shows, what may be claimed of it, and its way into the archive."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from itertools import count
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

# What an import counts as beside readings of the API, whose attempts begin at 1: less than any of
# them, and totals alone as less than a list.
LIST_ATTEMPT, COUNTS_ATTEMPT = -1_000_000, -2_000_000
_SHOWN = 3
# The greatest number that a column of totals holds.
MOST = 2**63 - 1
# The comma or space before three digits, of many; `1,5` is no number of accounts.
_GROUPED = re.compile(r"(?<=\d)[, \u00a0\u202f](\d{3})(?!\d)")
# What is wrong with the first such line of import_facts.sql.
_WRONG = {
    "header": "the names of the columns are there again; a file has one list",
    "other": "this row belongs to {text}, not to {handle}; a file has the list of one profile",
    "time": "{text} is no time of a follow; write it as 2026-11-27 13:45:00, which is UTC",
}


@dataclass(frozen=True)
class Wanted:
    """What somebody says of the files of an import."""

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
        return f"import:{self.name}"


@dataclass
class Found:
    """A file as it was understood, ready to be landed on `con`."""

    con: duckdb.DuckDBPyConnection = field(repr=False)
    source: Source
    shape: Shape | None
    rows: list[SnapshotRow]
    facts: dict[str, Any]
    notes: list[str]
    claim: str
    sample: list[tuple[Any, ...]]


@dataclass
class Landed:
    """What came of a file: snapshots that are new, those that it gave before, how many of its
    totals are of days that have a list, and whether anything waits to be derived."""

    new: list[SnapshotRow] = field(default_factory=list)
    known: list[SnapshotRow] = field(default_factory=list)
    kept: int = 0
    waits: bool = False


def understand(
    con: duckdb.DuckDBPyConnection, path: Path, wanted: Wanted, day: date | None, today: date
) -> Found:
    """Read a file into temp tables of `con`, which `in_memory` made. Raises ImportRefused."""
    source = read(con, path, _scratch(con), wanted.relation, wanted.encoding)
    sample = _records(con, source)
    shape = find(sample, wanted.relation, wanted.columns, source.name)
    last = (
        _records(con, source, "ORDER BY line DESC LIMIT 1")[0]
        if shape.more or shape.total
        else None
    )
    if shape.rows is not None:
        con.execute("SET VARIABLE import_list = ?", [shape.rows])
        run_sql(con, "import_unnest")
    pointers = [shape.fields.get(name, "/\x01") for name in FIELDS]
    titles = [_title(shape.fields[name]) if name in shape.fields else None for name in FIELDS]
    con.execute("SET VARIABLE import_titles = ?", [titles])
    con.execute("SET VARIABLE import_pointers = ?", [pointers])
    con.execute("SET VARIABLE import_handle = ?", [wanted.handle])
    con.execute("SET VARIABLE import_relation = ?", [wanted.relation])
    run_sql(con, "valid_ids")
    run_sql(con, "import_rows")
    cursor = con.execute(sql("import_facts"))
    names = [column[0] for column in cursor.description or ()]
    facts = dict(zip(names, cursor.fetchall()[0], strict=True))
    _refuse_rows(facts, source, wanted)
    days = _days(con, source, day, today)
    if facts["last_time"] is not None and facts["last_time"].date() > max(days):
        raise ImportRefused(
            f"{source.name}, {_line(shape, facts['last_time_line'])}: this account began to follow "
            f"on {facts['last_time']:%Y-%m-%d}, after {max(days)}, the day of the list"
        )
    order, notes = _order(wanted, shape, facts, source)
    con.execute("SET VARIABLE import_order = ?", [order or "newest"])
    run_sql(con, "import_accounts")
    listed = dict(
        con.execute("SELECT snapshot_date, count(*) FROM import_accounts GROUP BY ALL").fetchall()
    )
    shown_total = _total(_at(last, shape.total)) if shape.total else None
    cut = _cut(listed, shown_total, bool(shape.more and _at(last, shape.more)))
    rows, claim = _claims(wanted, source, listed, facts, order is not None, shown_total, cut)
    nameless = facts["rows"] - facts["named"]
    duplicates = facts["rows"] - nameless - sum(listed.values())
    if duplicates:
        notes.append(f"{counted(duplicates, 'row')} name an account again, and count once")
    if nameless:
        notes.append(
            f"{counted(nameless, 'row')} without a username, the first in "
            f"{_line(shape, facts['line_without'])}"
        )
    return Found(
        con, source, shape, rows, facts, notes, claim,
        con.execute(
            "SELECT account_handle, platform_user_id, display_name, followed_at "
            "FROM import_accounts ORDER BY snapshot_date, position LIMIT ?", [_SHOWN],
        ).fetchall(),
    )  # fmt: skip


def understand_counts(
    con: duckdb.DuckDBPyConnection, path: Path, wanted: Wanted, today: date
) -> Found:
    """A table of days with totals: as `understand`, and no list is behind any of the days."""
    source = read(con, path, _scratch(con), wanted.relation, wanted.encoding)
    records = _records(con, source, "ORDER BY line")
    keys = {plain_name(key): key for row in records if isinstance(row, dict) for key in row}
    day_key = next((keys[one] for one in ("date", "day", "snapshotdate") if one in keys), None)
    totals: dict[Relation, str | None] = {
        "followers": next(
            (keys[one] for one in (*NAMES["followers"], "followerstotal", "subscribers")
             if one in keys), None),
        "following": next(
            (keys[one] for one in (*NAMES["following"], "followingtotal") if one in keys), None),
    }  # fmt: skip
    if day_key is None or not any(totals.values()):
        raise ImportRefused(
            f"{source.name}: counts need a column `date` and one called `followers` or "
            f"`following`; there are {', '.join(keys.values()) or 'none'}"
        )
    texts = [None if row.get(day_key) is None else str(row[day_key]) for row in records]
    days = parse_days(texts, source.name, count(source.first_line))
    rows: dict[SnapshotKey, SnapshotRow] = {}
    for line, (day, row) in enumerate(zip(days, records, strict=True), start=source.first_line):
        _refuse_future(day, today, f"{source.name}, line {line}")
        for relation, key in totals.items():
            said = "" if key is None or row.get(key) is None else str(row[key]).strip()
            if not said:
                continue
            number = _GROUPED.sub(r"\1", said).removesuffix(".0")
            if not (number.isascii() and number.isdecimal() and int(number) <= MOST):
                raise ImportRefused(
                    f"{source.name}, line {line}: {clean(said)!r} is not a number of {relation}"
                )
            made = _row(
                replace(wanted, relation=relation), source, day, "counts", 0, int(number),
                attempt=COUNTS_ATTEMPT,
            )  # fmt: skip
            if rows.setdefault(made.key, made).reported_total != made.reported_total:
                raise ImportRefused(
                    f"{source.name}, line {line}: {day} has another number of {relation} above"
                )
    if not rows:
        raise ImportRefused(f"{source.name}: no row has a number")
    _no_accounts(con)
    return Found(
        con, source, None, list(rows.values()), {"rows": len(records)}, [],
        "totals only: nobody is known to have come or left",
        [(row.snapshot_date, row.key.relation, row.reported_total) for row in rows.values()][
            :_SHOWN
        ],
    )  # fmt: skip


def _no_accounts(con: duckdb.DuckDBPyConnection) -> None:
    """An empty `import_accounts`."""
    con.execute("CREATE OR REPLACE TEMP TABLE records AS SELECT 1 AS line, NULL::JSON AS record")
    con.execute("SET VARIABLE import_pointers = ?", [["/\x01"] * len(FIELDS)])
    run_sql(con, "valid_ids")
    run_sql(con, "import_rows")
    put_table(con, "import_days", pa.table({"day": pa.array([], pa.string()),
        "snapshot_date": pa.array([], pa.date32())}))  # fmt: skip
    run_sql(con, "import_accounts")


@contextmanager
def in_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory to understand a file in, with a scratch folder of its own."""
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET threads = 1")  # lines are counted in their order
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
        raise ImportRefused(f"{source.name}: its lists are nested too deeply") from None


def _at(record: Any, pointer: str) -> Any:
    for part in pointer.strip("/").split("/"):
        record = record.get(part.replace("~1", "/").replace("~0", "~"), None) if record else None
    return record


def _total(said: Any) -> int | None:
    """A total that a page says; None for what is none."""
    return said if type(said) is int and 0 <= said <= MOST else None


def _title(pointer: str) -> str:
    return pointer[1:].replace("~1", "/").replace("~0", "~")


def _line(shape: Shape | None, number: int) -> str:
    return f"{'line' if shape is None or shape.rows is None else 'entry'} {number}"


def _refuse_rows(facts: dict[str, Any], source: Source, wanted: Wanted) -> None:
    if not facts["rows"]:
        raise ImportRefused(f"{source.name}: there is no row for {wanted.relation}")
    for what, problem in _WRONG.items():
        if facts[f"line_of_{what}"] is not None:
            text = "" if facts[what] is None else repr(clean(facts[what]))
            raise ImportRefused(
                f"{source.name}, line {facts[f'line_of_{what}']}: "
                + problem.format(text=text, handle=wanted.handle)
            )
    without = facts["rows"] - facts["named"]
    if without * 2 >= facts["rows"]:
        said = facts["said_without"]
        raise ImportRefused(
            f"{source.name}, line {facts['line_without']}: "
            f"{'nothing' if said is None else repr(clean(said))} is no username; so it is in "
            f"{without:,} of {counted(facts['rows'], 'row')}"
        )


def _refuse_future(day: date, today: date, where: str) -> None:
    if day > today:
        raise ImportRefused(f"{where}: {day} has not begun (UTC)")


def _days(
    con: duckdb.DuckDBPyConnection, source: Source, day: date | None, today: date
) -> list[date]:
    """The days of the lists in a file: the one that was named, or those that its rows name."""
    rows = con.execute("SELECT day, min(line) FROM import_rows GROUP BY ALL ORDER BY 2").fetchall()
    texts: list[str | None] = [text for text, _ in rows]
    if texts == [None] and day is not None:
        days = [day]
    elif None in texts:
        raise ImportRefused(
            f"{source.name}: of which day is it? Say --day 2026-11-27, or --day with a pattern "
            "of the file's name, such as 'followers_{date}.csv'"
            if day is None
            else f"{source.name}, line {dict(rows)[None]}: this row has no day, and others have one"
        )
    else:
        days = parse_days(texts, source.name, [line for _, line in rows])
        if day is not None and set(days) != {day}:
            other = next(one for one in days if one != day)
            raise ImportRefused(f"{source.name}: its rows name {other}, not {day}; leave --day out")
    for one in days:
        _refuse_future(one, today, source.name)
    put_table(
        con,
        "import_days",
        pa.table({"day": pa.array(texts, pa.string()), "snapshot_date": pa.array(days)}),
    )
    return days


def _order(
    wanted: Wanted, shape: Shape, facts: dict[str, Any], source: Source
) -> tuple[str | None, list[str]]:
    """How the rows are put into the order of the follows, None where nobody knows."""
    if facts["times"] == facts["rows"]:
        return "time", []
    order = wanted.order or ("newest" if wanted.window or shape.newest_first else None)
    notes = []
    if order is not None and facts["sorted"] and facts["rows"] >= 5:
        if wanted.order or wanted.window:
            raise ImportRefused(
                f"{source.name}: its rows are sorted by username or id, so they are not in the "
                "order of the follows"
            )
        order = None
    if facts["rounded"] and facts["rounded"] > 0.2 * facts["rows"]:
        notes.append("ids are rounded, as a spreadsheet does it, and are left out")
    return order, notes


def _cut(listed: dict[date, int], total: int | None, more: bool) -> str | None:
    """What says that the list was cut off."""
    most = max(listed.values(), default=0)
    if more:
        return "the last page says that more follow"
    if total is not None and total > most:
        return f"its pages say that there are {total:,}"
    if most >= 1_000 and most % 1_000 == 0:
        return f"{most:,} accounts are as many as a limit leaves"
    return None


def _claims(
    wanted: Wanted, source: Source, listed: dict[date, int], facts: dict[str, Any],
    ordered: bool, shown_total: int | None, cut: str | None,
) -> tuple[list[SnapshotRow], str]:  # fmt: skip
    """The snapshots of a file, and in words what they prove."""
    if len(listed) > 1 and wanted.total is not None:
        raise ImportRefused(f"{source.name}: it has {len(listed)} days; a total is of one")
    if wanted.everyone and cut is not None:
        raise ImportRefused(
            f"{source.name}: it does not show everyone: {cut}. If TikTok showed that number on "
            "that day, say it with --total; else use --window"
        )
    nameless = facts["rows"] - facts["named"]
    total = wanted.total if wanted.total is not None else shown_total
    rows = []
    for day, accounts in sorted(listed.items()):
        whole = wanted.everyone or wanted.total == accounts
        end = "exhausted" if whole else "page_limit" if wanted.window else "partial"
        own = accounts if whole else total
        row = _row(wanted, source, day, end, accounts, own, ordered=ordered, damaged=nameless)
        rows.append(row)
    in_order = (
        "; in the order of the follows, newest first, as far as the days beside it agree"
        if ordered else "; in no order of its own"
    )  # fmt: skip
    if all(row.exhaustive for row in rows):
        return rows, f"shows everyone: who is not in it does not follow{in_order}"
    why = ""
    if nameless and (wanted.everyone or wanted.total is not None):
        why = " (not everyone: rows without a username may be anybody)"
    elif wanted.total is not None:
        why = f" (not everyone: {wanted.total:,} follow and {max(listed.values()):,} are listed)"
    if wanted.window:
        return rows, f"the newest part of the list{why}{in_order}"
    return rows, (
        f"who is in it followed; nothing of who is not{why}. Compared only where no earlier list "
        "is; say --everyone, --total N or --window for more"
    )


def _row(
    wanted: Wanted, source: Source, day: date, end: str, listed: int, total: int | None,
    *, ordered: bool = False, damaged: int = 0, attempt: int = LIST_ATTEMPT,
) -> SnapshotRow:  # fmt: skip
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    shows = completeness("found", end, listed, total)
    return SnapshotRow(
        wanted.relation, wanted.handle, day, "found", end,
        "window" if damaged and shows == "complete" else shows,
        listed, total, 0, 0, now, now, source.digest, attempt, "", damaged, wanted.source,
        ordered, source.name,
    )  # fmt: skip


def land(home: Home, found: Found, wanted: Wanted) -> Landed:
    """Archive and load what was understood, in one transaction; nothing of it where that fails.

    Whoever is forgotten is archived as a tombstone. Raises ImportRefused where a day is there
    already and was not to be replaced, PrivacyRefused.
    """
    con = found.con
    with writing(home.writable) as warehouse:
        landed = _beside(warehouse, found, wanted)
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


def look(home: Home, found: Found, wanted: Wanted) -> Landed:
    """What `land` would do, without doing it. Raises ImportRefused as it does."""
    try:
        with reading(home.readable) as warehouse:
            return _beside(warehouse, found, wanted)
    except (FileNotFoundError, duckdb.Error):  # nothing yet, or of a version before this one
        return Landed(found.rows)


def _beside(warehouse: duckdb.DuckDBPyConnection, found: Found, wanted: Wanted) -> Landed:
    """Which of the rows are new beside what is loaded."""
    landed = Landed()
    there = {row.key: row for row in loaded_rows(warehouse, [row.key for row in found.rows])}
    for row in found.rows:
        before = there.get(row.key)
        if before is None:
            landed.new.append(row)
        elif _same(before, row):
            landed.known.append(before)
        elif row.attempt == COUNTS_ATTEMPT and before.end_reason != "counts":
            landed.kept += 1  # a list says more
        elif before.end_reason == "counts" and row.attempt > before.attempt:
            landed.new.append(row)
        elif wanted.replace:
            landed.new.append(replace(row, attempt=before.attempt + 1))
        else:
            whose = "the API has" if not before.imported else f"{before.source} has"
            raise ImportRefused(
                f"{found.source.name}: {whose} {row.key} already; nothing of the file is "
                "imported. Add --replace to put it in its place"
            )
    return landed


def _same(one: SnapshotRow, other: SnapshotRow) -> bool:
    """Whether a file was imported before, with the same claims."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("run_id", "source", "end_reason", "reported_total", "ordered")
    )


def remove(home: Home, name: str) -> list[SnapshotRow]:
    """Take an import out of warehouse and archive; what it had replaced stands again.

    All is to be derived anew afterwards. Raises SettingsError where there is none of that name.
    """
    source = f"import:{name}"
    archived = list(read_archive(home.archive))
    gone = [row for row in archived if row.source == source]
    if not gone:
        known = sorted({row.source[7:] for row in archived if row.imported})
        raise SettingsError(
            f"import: nothing was imported as {name!r}; there is {', '.join(known) or 'no import'}"
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
