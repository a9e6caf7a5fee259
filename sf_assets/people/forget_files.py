"""Searches for ids and names of people in the files of a home, and removes them from text files.

A short handle may also be an ordinary word. So ids and names of fewer than LONG letters match only
as values of a column or of JSON, or after an @.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import os
import re
import shutil
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from copy import copy
from pathlib import Path
from typing import IO, Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sf_assets.model import RELATIONS
from sf_assets.people.errors import ForgetRefused
from sf_assets.people.forget_rows import Person, accounts_of
from sf_assets.storage.files import read_text, write_atomically
from sf_assets.storage.home import DOCUMENTS, LOGS, Home
from sf_assets.storage.landing import quarantined
from sf_assets.storage.landing_objects import SPOOL
from sf_assets.storage.landings import landing_of
from sf_assets.storage.object_store import is_remote, place
from sf_assets.storage.records import Landed
from sf_assets.storage.shared import Shared
from sf_assets.storage.tombstone import KEY_NAME, PREFIX, IdKind, Pseudonyms
from sf_assets.text import first_line
from sf_assets.warehouse.archive_names import all_files
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.statements import all_sql, quoted

#: Minimum length of a term that is found inside of text and in bytes.
LONG = 6
JOURNAL = "forgetting.json"
# Files that the user writes and edits.
WRITTEN_BY_HAND = ("handles.yaml", ".handles.yaml.last-good", "annotations.yaml", "dagster.yaml")
_OTHERS_TEXTS = ("display_name", "bio", "details", "extra", "profile_url")
# Columns that hold only our own words, which may also be handles.
_OUR_WORDS = (
    "relation", "relations", "change", "state", "evidence", "losses", "gains", "reason", "trait",
    "value", "start_kind", "end_kind", "followed_at_source", "lookup_status", "end_reason",
    "completeness", "source", "depth", "from_status", "to_status",
)  # fmt: skip
_CHUNK = 16 << 20
_LONGEST = 4096
_SQLITE = b"SQLite format 3\0"


class Hit(NamedTuple):
    """Where a person is found and how often; `mention` if others mention the person."""

    place: str
    times: int
    mention: bool = False


class Terms:
    """Terms to search for, and their replacements."""

    def __init__(self, people: Iterable[Person], ids: Pseudonyms | None = None) -> None:
        self.exact = {term.lower() for person in people for term in person.terms}
        self._instead: dict[str, str] = {}
        kinds: list[tuple[IdKind, str]] = [
            ("number", "numbers"), ("sec_uid", "sec_uids"), ("handle", "handles"),
        ]  # fmt: skip
        for person in people:
            for kind, name in kinds:
                for term in set(getattr(person, name)) & person.terms:
                    self._instead[term.lower()] = ids.of(kind, term) if ids else ""
        forms = {
            form: term.lower()
            for person in people
            for term in person.terms
            if term.lower() not in RELATIONS  # part of every asset key
            for form in _forms(term)
        }
        self._of_form = {form.lower(): term for form, term in forms.items()}
        words = [_bounded(form) for form in sorted(forms, key=len, reverse=True)]
        self._pattern = re.compile("|".join(words) or "(?!)", re.IGNORECASE)
        # In bytes, only ASCII has lower case.
        self._raw = {
            raw: re.compile(_bounded(form).encode().lower())
            for form, term in forms.items()
            if len(term) >= LONG
            for raw in [form.encode(errors="replace").lower()]
        }

    def not_in(self, text: str) -> Terms:
        """The same without words of this text: in the bytes of a file that contains it, they prove
        nothing."""
        made, lower = copy(self), text.lower().encode()
        made._raw = {raw: word for raw, word in self._raw.items() if not word.search(lower)}
        return made

    def scrubbed(self, text: str) -> str:
        """The text with pseudonyms instead of ids, and without names."""
        return self._pattern.sub(self._pseudonym, text) if self._may_be_in(text) else text

    def times_in(self, text: str) -> int:
        """How often ids and names occur in a text."""
        return len(self._pattern.findall(text)) if self._may_be_in(text) else 0

    def times_in_bytes(self, body: bytes) -> int:
        """How often terms of at least LONG letters occur in bytes."""
        lower, times = body.lower(), 0
        for form, bounded in self._raw.items():
            at = lower.find(form)
            while at >= 0:
                times += bounded.match(lower, at) is not None
                at = lower.find(form, at + 1)
        return times

    def _may_be_in(self, text: str) -> bool:
        # Much faster than the pattern, and nearly always sufficient.
        lower = text.lower()
        return any(form in lower for form in self._of_form)

    def _pseudonym(self, match: re.Match[str]) -> str:
        term = self._of_form.get(match[0].lower(), "")
        return self._instead.get(term, PREFIX.rstrip("-"))


def _forms(term: str) -> set[str]:
    """A term in upper and lower case, plain and escaped as JSON once or twice.

    Ignoring case is not enough: it changes JSON escapes, and letters such as `İ`.
    """
    forms = {term} if term.isascii() else {term, term.lower(), term.upper()}
    for _ in range(2):
        forms |= {
            json.dumps(form, ensure_ascii=some)[1:-1] for form in forms for some in (True, False)
        }
    return forms


def _bounded(form: str) -> str:
    # A JSON escape also ends with a letter or digit.
    before = r"(?:(?<![\w.\-])|(?<=\\[nrt])|(?<=\\u[0-9a-fA-F]{4}))"
    if len(form) < LONG:
        before = r"(?:(?<=@)|(?<=\"))"
    after = r"(?![\w\-]|\.\w)" if len(form) >= LONG else r"(?![\w.\-])"
    if form.isascii() and form.replace("_", "").isalpha():
        # Not a JSON field with that name: Dagster could not read its storage without it.
        after += r"(?!\\*\"\s*:)"
    return before + re.escape(form) + after


def scrub(home: Home, people: Sequence[Person], ids: Pseudonyms) -> list[str]:
    """Remove these people from text in the home: logs, notes, Dagster's databases.

    Returns the changed files. Raises ForgetRefused while another process uses one.
    """
    terms = Terms(people, ids)
    changed: list[str] = []
    for log in _shared_logs(home):
        changed += _scrub_lines(log, terms.scrubbed)
    if home.far:
        with suppress(FileNotFoundError):
            facts = read_text(home.vendor_facts)
            if terms.scrubbed(facts) != facts:
                write_atomically(home.vendor_facts, terms.scrubbed(facts))
                changed.append(home.vendor_facts.name)
    for path in files_of(home):
        name = path.relative_to(home.root)
        if (
            is_evidence(home, path)
            or name.parts[0] in ("warehouse", "published", "lake")
            or (path.name in (*WRITTEN_BY_HAND, KEY_NAME, JOURNAL) or path == home.published)
        ):
            continue
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
        if head == _SQLITE:
            if _scrub_sqlite(path, terms):
                changed.append(str(name))
        elif not path.name.endswith(("-wal", "-shm")):
            body = path.read_bytes()
            text = body.decode("utf-8", "surrogateescape")
            made = terms.scrubbed(text).encode("utf-8", "surrogateescape")
            if made != body:
                _overwrite(path, made)
                changed.append(str(name))
    return changed


def _scrub_lines(log: Shared, scrubbed: Callable[[str], str]) -> list[str]:
    made = {line: new for line in log.lines() if (new := scrubbed(line)) != line}
    if made:
        log.change(made)
    return [log.name] if made else []


def is_evidence(home: Home, path: Path) -> bool:
    """Whether archive or landing read and rewrite this file themselves."""
    if path.is_relative_to(home.root / SPOOL):
        return True
    if is_remote(home.archive):
        return False
    if path.is_relative_to(home.archive):
        return path.parent.name.startswith("day=") and path.suffix == ".parquet"
    if not path.is_relative_to(home.landing):
        return False
    parts = path.relative_to(home.landing).parts
    return len(parts) >= 3 and path.name.endswith((".jsonl", ".jsonl.zst", ".quarantine"))


def drop_names(home: Home, ids: Pseudonyms) -> list[str]:
    """Remove everybody: put pseudonyms into the record of alerts, and delete Dagster's storage.

    Returns the changed files. Raises OSError.
    """
    changed: list[str] = []
    deliveries = home.deliveries

    def anonymous(text: str) -> str:
        return _AN_ID.sub(lambda match: _pseudonym_in(match[0], ids), text)

    if isinstance(deliveries, Shared):
        changed += _scrub_lines(deliveries, anonymous)
    elif deliveries.exists():
        text = deliveries.read_text(encoding="utf-8")
        made = anonymous(text)
        if made != text:
            _overwrite(deliveries, made.encode())
            changed.append(deliveries.name)
    for path in home.dagster.iterdir() if home.dagster.is_dir() else ():
        if path.name != "dagster.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            changed.append(f"dagster/{path.name}")
    return changed


# An account_id in the record of an alert.
_AN_ID = re.compile(r"(?<![\w.])(?:sec:[\w\-]+|@[\w.]+|\d{6,19})(?![\w.])")


def _pseudonym_in(account_id: str, ids: Pseudonyms) -> str:
    if account_id.startswith("@"):
        return "@" + ids.of("handle", account_id[1:].lower())
    kind, _, value = account_id.rpartition(":")
    return f"sec:{ids.of('sec_uid', value)}" if kind else ids.of("number", value.lstrip("0"))


def _overwrite(path: Path, body: bytes) -> None:
    stat, partial = path.stat(), path.with_name(f".{path.name}.partial")
    partial.write_bytes(body)
    partial.chmod(stat.st_mode & 0o777)
    os.utime(partial, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _scrub_sqlite(path: Path, terms: Terms) -> bool:
    """Scrub a SQLite file, its free pages and its log. Raises ForgetRefused if it is in use."""

    def scrubbed(value: Any) -> Any:
        if isinstance(value, bytes):
            text = value.decode("utf-8", "surrogateescape")
            return terms.scrubbed(text).encode("utf-8", "surrogateescape")
        return terms.scrubbed(value) if isinstance(value, str) else value

    try:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as con:
            con.create_function("scrubbed", 1, scrubbed, deterministic=True)
            con.execute("PRAGMA secure_delete = ON")
            changes = 0
            tables = con.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' "
                "AND sql NOT LIKE 'CREATE VIRTUAL%'"
            ).fetchall()
            for (table,) in tables:
                for _, column, *_ in con.execute(f"PRAGMA table_info({quoted(table)})").fetchall():
                    name, of = quoted(column, '"'), quoted(table, '"')
                    changes += con.execute(
                        f"UPDATE OR REPLACE {of} SET {name} = scrubbed({name}) WHERE "
                        f"typeof({name}) IN ('text', 'blob') AND scrubbed({name}) IS NOT {name}"
                    ).rowcount
            log = path.with_name(f"{path.name}-wal")
            if changes or any(_raw_hits(file, terms) for file in (path, log) if file.exists()):
                con.execute("VACUUM")
                busy, *_ = con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise sqlite3.OperationalError("its log is in use")
                return True
            return False
    except sqlite3.OperationalError as error:
        raise ForgetRefused(
            f"{path} is in use ({error}): stop `sf-assets up`, then run sf-assets forget again to "
            "continue"
        ) from None
    except sqlite3.DatabaseError:
        return False  # damaged; the search reports what is in it


def search(home: Home, people: Sequence[Person], tell: Callable[[str], None]) -> list[Hit]:
    """Where ids and names of these people are found in the home.

    Reads every file: decompresses lists, decodes Parquet and DuckDB files, and reads all others
    byte by byte. Raises OSError.
    """
    terms = Terms(people)
    tell("searching archive and landing")
    hits = [*_archive_hits(home, terms), *_landing_hits(home, terms)]
    tell("searching tables and all other files")
    with_tables = [
        path for path in files_of(home) if path.suffix == ".duckdb" or ".old" in path.name
    ]
    if home.lake is not None:
        with reading(home.lake) as con:
            hits += _table_hits(con, "the lake", terms)
        data = place(home.lake.data)
        if is_remote(data) or home.root not in data.parents:
            for path in data.rglob("*.parquet"):
                hits += _parquet_hits(path, f"the lake: {path.name}", terms)
    for log in _shared_logs(home):
        times = terms.times_in("\n".join(log.lines()))
        hits += [Hit(log.name, times)] if times else []
    for name in DOCUMENTS if home.far else ():
        if name not in (KEY_NAME, JOURNAL):
            with suppress(FileNotFoundError):
                times = terms.times_in(read_text(home.document(name)))
                hits += [Hit(name, times)] if times else []
    for path in files_of(home):
        if path.name in (KEY_NAME, JOURNAL) or is_evidence(home, path):
            continue
        name = str(path.relative_to(home.root))
        try:
            hits += _file_hits(path, name, terms, tables=path in with_tables)
        except FileNotFoundError:
            continue  # another run deleted it
        except _UNREADABLE as error:
            hits.append(Hit(f"{name} (unreadable: {first_line(error)})", 1))
    return hits


# What readers raise for a damaged file, and for an archive with a password.
_UNREADABLE = (
    duckdb.Error, pa.ArrowException, zipfile.BadZipFile, zlib.error, EOFError, OSError,
    RuntimeError, NotImplementedError,
)  # fmt: skip


def _file_hits(path: Path, name: str, terms: Terms, *, tables: bool) -> list[Hit]:
    hits: list[Hit] = []
    if tables:
        with duckdb.connect(str(path), read_only=True) as con:
            hits = _table_hits(con, name, terms)
        terms = terms.not_in(all_sql())
        # The bytes also contain mentions by others.
        if any(hit.mention for hit in hits):
            return hits
    elif path.suffix == ".parquet":
        return _parquet_hits(path, name, terms)
    times = _raw_hits(path, terms, short=not tables)
    return [*hits, *([Hit(name, times)] if times else [])]


def _shared_logs(home: Home) -> list[Shared]:
    return [log for log in map(home.log, LOGS) if isinstance(log, Shared)]


def files_of(home: Home) -> Iterator[Path]:
    """All files of the home, without links."""
    for parent, _, names in os.walk(home.root):
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _raw_hits(path: Path, terms: Terms, *, short: bool = False) -> int:
    """How often terms occur in the bytes of a file; with `short`, in text also short ones."""
    times = 0
    for file in _opened(path):
        rest = b""
        with file:
            while chunk := file.read(_CHUNK):
                if short and not rest and b"\0" not in chunk[:4096]:
                    times += terms.times_in((chunk + file.read()).decode("utf-8", "replace"))
                else:
                    # Finds a term that a chunk cuts in two, and counts every other one once.
                    times += terms.times_in_bytes(rest + chunk) - terms.times_in_bytes(rest)
                    rest = (rest + chunk)[-_LONGEST:]
    return times


def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, and its content if it is compressed."""
    with path.open("rb") as file:
        head = file.read(4)
    yield path.open("rb")
    if head.startswith(b"\x1f\x8b"):
        yield gzip.open(path)  # type: ignore[misc]  # noqa: SIM115
    elif head.startswith(b"BZh"):
        yield bz2.open(path)  # noqa: SIM115
    elif head == b"\x28\xb5\x2f\xfd":
        yield pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    elif head == b"PK\3\4" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                yield packed.open(name)


def _values(name: str, values: Iterable[object], terms: Terms) -> tuple[int, int]:
    """How many values equal a term, and how many contain one."""
    exact = contain = 0
    for value in values:
        text = str(value)
        if text.lower() in terms.exact:
            exact += 1
        elif terms.times_in(text):
            contain += 1
    return (exact, contain) if name in _OTHERS_TEXTS else (exact + contain, 0)


def _hits(place: str, exact: int, contain: int) -> list[Hit]:
    return [hit for hit in (Hit(place, exact), Hit(place, contain, mention=True)) if hit.times]


def _parquet_hits(path: Path, place: str, terms: Terms) -> list[Hit]:
    exact = contain = 0
    with path.open("rb") as file:
        metadata = pq.read_metadata(file)
        file.seek(0)
        table = pq.read_table(file, use_threads=False)
    for key, value in (metadata.metadata or {}).items():
        if key != b"ARROW:schema":
            exact += terms.times_in(value.decode("utf-8", "replace"))
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_struct(column.type) or pa.types.is_list(column.type):
            values: Iterable[object] = (value for value in column.to_pylist() if value is not None)
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            values = (value for value in column.unique().to_pylist() if value is not None)
        else:
            continue
        here, within = _values(name, values, terms)
        exact, contain = exact + here, contain + within
    return _hits(place, exact, contain)


def _archive_hits(home: Home, terms: Terms) -> Iterator[Hit]:
    for path in all_files(home.archive):
        yield from _parquet_hits(path, f"archive/{path.parent.name}/{path.name}", terms)


def _landing_hits(home: Home, terms: Terms) -> Iterator[Hit]:
    landing = landing_of(home)
    for day in landing.days():
        for key, landed in landing.read_each(landing.keys(day)):
            exact = int(key.handle in terms.exact)
            contain = 0
            if not isinstance(landed, Landed):
                yield from () if landed is None else [Hit(f"landing of {key} (damaged)", 1)]
                continue
            for account in accounts_of(landed):
                for name, value in account.items():
                    column = {"displayName": "display_name"}.get(name, name)
                    here, within = _values(column, [value], terms)
                    exact, contain = exact + here, contain + within
            yield from _hits(f"landing of {key}", exact, contain)
        for key in landing.quarantined(day):
            kept = quarantined(landing.path(key))
            paths = [kept] if kept.is_file() else sorted(kept.glob("*.json"))
            for path in paths:
                for line in path.read_bytes().splitlines():
                    body = base64.b64decode(json.loads(line)["body_base64"])
                    found = terms.times_in(body.decode("utf-8", "replace"))
                    yield from _hits(f"quarantine of {key}", found, 0)


def _table_hits(con: duckdb.DuckDBPyConnection, place: str, terms: Terms) -> list[Hit]:
    hits = []
    columns = con.execute(
        "SELECT c.schema_name, c.table_name, c.column_name, c.data_type FROM duckdb_columns() AS c "
        "JOIN duckdb_tables() AS t USING (database_name, schema_name, table_name) "
        "WHERE c.database_name = current_database()"
    ).fetchall()
    for schema, table, column, kind in columns:
        if (
            table == "warehouse_format"
            or column in _OUR_WORDS
            or ("VARCHAR" not in kind and kind != "BLOB")
        ):
            continue
        name = quoted(column, '"')
        # As schema_macros.sql stores a secUid.
        shown = f"'MS4wLjABAAAA' || translate(to_base64({name}), '+/', '-_')"
        shown = shown if kind == "BLOB" else f"CAST({name} AS VARCHAR)"
        values = con.execute(
            f'SELECT DISTINCT {shown} FROM "{schema}"."{table}" WHERE {name} IS NOT NULL'
        ).fetchall()
        exact, contain = _values(column, (_plain_id(value) for (value,) in values), terms)
        hits += _hits(f"{place}: {schema}.{table}.{column}", exact, contain)
    return hits


def _plain_id(value: str) -> str:
    """An account_id without the prefix of its kind."""
    return value.removeprefix("sec:").removeprefix("@")
