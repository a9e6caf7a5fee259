"""Reads a file of any supported format into `records`: one row per line or object, as JSON.

Unpacks the file and converts text to UTF-8 in a scratch folder first, up to a limit; DuckDB then
reads it.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sf_assets.people.errors import ImportRefused
from sf_assets.people.shapes import HANDLE_NAMES, plain_name
from sf_assets.storage.object_store import pattern_of
from sf_assets.text import clean, first_line
from sf_assets.warehouse.statements import put_table, run_sql, sql

# Limits on unpacked files: bytes (six million accounts as API pages), and the factor by which a
# file may grow if it exceeds UNSUSPICIOUS bytes. JSON packs 10 to 20 times.
MOST_BYTES = 4 << 30
MOST_TIMES, UNSUSPICIOUS = 200, 64 << 20
MOST_ROWS = 20_000_000
_CHUNK = 1 << 20
_DELIMITERS = ",;\t|"
# Titles of username columns, which are not usernames.
_TITLES = frozenset(
    f"{name}{end}"
    for name in ("follower", "following", "account", "user", "name", "profile", "fan", "profileurl",
                 "url", "link", "nickname", "tiktokhandle", "tiktokusername")
    for end in ("", "s")
)  # fmt: skip
# Suffixes of files to read in a folder.
SUFFIXES = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".xlsx", ".parquet", ".zip",
    ".gz", ".bz2", ".zst",
)  # fmt: skip
_OF_A_ZIP = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Source:
    """A file: its name, its SHA-256, its format, and what the numbers of its records count."""

    name: str
    digest: str
    kind: str
    unit: str = "line"

    def at(self, number: int) -> str:
        """The place of a record in a message, such as `fans.csv, line 3`."""
        return f"{self.name}, {self.unit} {number}"


def read(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    scratch: Path,
    relation: str,
    encoding: str | None = None,
) -> Source:
    """Load a file into the temporary table `records` of `con`.

    Raises ImportRefused if the file cannot be read, is empty, or unpacks to too much.
    """
    name = path.name
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(_CHUNK):
                digest.update(block)
        plain, kind = _unpacked(path, scratch, name, relation), ""
        with plain.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ImportRefused(f"cannot read {name} ({error.strerror or error})") from None
    if not head:
        raise ImportRefused(f"{name}: the file is empty")
    if head.startswith((b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")):
        raise ImportRefused(f"{name}: packed twice; unpack it first")
    con.execute("SET VARIABLE import_file = ?", [pattern_of(plain)])
    unit = "row"
    try:
        if head.startswith(b"PAR1"):
            kind = "Parquet"
            _refuse_rows(con, name)
            con.execute(sql("import_parquet"))
        elif head.startswith(b"PK"):
            kind = "XLSX"
            _table(con, _from_sheet(plain, scratch, name), name)
        else:
            kind, unit = _read_text(con, *_as_text(plain, scratch, name, encoding), name)
    except duckdb.Error as error:
        raise ImportRefused(f"{name}{_where(error)}") from None
    return Source(name, digest.hexdigest(), kind, unit)


def _where(error: duckdb.Error) -> str:
    """`, line 3: …` from a message of DuckDB."""
    message = str(error)
    line = re.search(r"[Ll]ine:? (\d+)", message)
    text = re.sub(r"^[\w ]+ Error: ", "", first_line(error))
    text = re.sub(r' in file "[^"]*"', "", text)
    columns = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    if columns:
        text = f"{columns[2]} columns instead of {columns[1]}"
    elif "nquoted" in message or "unterminated quote" in message.lower():
        text = "unterminated or misplaced quote"
    return (f", line {line[1]}" if line else "") + f": {clean(text, 200)}"


def _unpacked(path: Path, scratch: Path, name: str, relation: str) -> Path:
    """The file, or its content unpacked in the scratch folder."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
    opened: Any
    if head[:2] == b"\x1f\x8b":
        opened = gzip.open(path)  # noqa: SIM115
    elif head[:3] == b"BZh":
        opened = bz2.open(path)  # noqa: SIM115
    elif head == b"\x28\xb5\x2f\xfd":
        opened = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    elif head[:2] == b"PK":
        try:
            packed = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise ImportRefused(f"{name}: broken zip ({error})") from None
        with packed:
            members = packed.infolist()
            _refuse_bomb(sum(member.file_size for member in members), size, name)
            if any(member.filename.startswith("xl/") for member in members):
                return path
            return _copied(packed, scratch, size, name, _member(members, name, relation))
    else:
        return path
    return _copied(opened, scratch, size, name)


def _member(members: list[zipfile.ZipInfo], name: str, relation: str) -> zipfile.ZipInfo:
    lists = [
        file for file in members
        if file.filename.lower().endswith(_OF_A_ZIP) and not file.filename.startswith("__MACOSX")
    ]  # fmt: skip
    own = "following" if relation == "following" else "follower"
    named = [file for file in lists if own in file.filename.rsplit("/", 1)[-1].lower()]
    for some in (lists, named):
        if len(some) == 1:
            return some[0]
    raise ImportRefused(
        f"{name}: contains {len(lists)} lists; unpack it and give the file with the {relation}"
    )


def _copied(opened: Any, scratch: Path, size: int, name: str, member: Any = None) -> Path:
    target, written = scratch / "unpacked", 0
    try:
        with opened if member is None else opened.open(member) as opened, target.open("wb") as copy:
            while block := opened.read(_CHUNK):
                written += len(block)
                _refuse_bomb(written, size, name)
                copy.write(block)
    # RuntimeError: a zip with a password, or an unknown compression (NotImplementedError).
    except (EOFError, zlib.error, zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise ImportRefused(f"cannot unpack {name} ({first_line(error)})") from None
    return target


def _refuse_bomb(unpacked: int, packed: int, name: str) -> None:
    if unpacked > MOST_BYTES or unpacked > max(UNSUSPICIOUS, MOST_TIMES * packed):
        raise ImportRefused(
            f"{name}: unpacks from {packed:,} to {unpacked:,} bytes or more; too much for a list"
        )


def _refuse_rows(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Refuse a Parquet file with too many rows: one repeated value packs a thousandfold."""
    query = "SELECT num_rows FROM parquet_file_metadata(getvariable('import_file'))"
    ((rows,),) = con.execute(query).fetchall()
    if rows > MOST_ROWS:
        raise ImportRefused(f"{name}: has {rows:,} rows; the limit is {MOST_ROWS:,}")


def _as_text(path: Path, scratch: Path, name: str, encoding: str | None) -> tuple[Path, int, bool]:
    """The file as UTF-8 without a byte order mark, the length of its longest line, and whether it
    has blank lines or quoted text that may span lines."""
    with path.open("rb") as file:
        head = file.read(4096)
    if encoding is None:
        marks = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
        encoding = marks.get(head[:2], "utf-8-sig")
        if encoding != "utf-16" and b"\0" in head:
            wide = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
            raise ImportRefused(f"{name}: not a text file; if it is UTF-16, add --encoding {wide}")
    target, longest, uneven = scratch / "text", 0, False
    try:
        with (
            path.open(encoding=encoding) as lines,  # every line end becomes \n
            target.open("w", encoding="utf-8", newline="") as copy,
        ):
            for text in lines:
                longest = max(longest, len(text))
                uneven = uneven or text.isspace() or text.count('"') % 2 == 1
                copy.write(text)
    except UnicodeError:
        line = _undecodable(path, encoding)
        raise ImportRefused(
            f"{name}, line {line}: not {encoding.removesuffix('-sig')}; give its encoding, such as "
            "--encoding latin-1 or utf-16"
        ) from None
    except LookupError:
        raise ImportRefused(f"--encoding {encoding}: unknown encoding") from None
    return target, 4 * longest + 1, uneven


def _undecodable(path: Path, encoding: str) -> int:
    """The first line that cannot be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 0
    with path.open("rb") as lines:
        for line, text in enumerate(lines, start=1):  # noqa: B007
            try:
                decoder.decode(text)
            except UnicodeError:
                break
    return line


def _read_text(
    con: duckdb.DuckDBPyConnection, path: Path, longest: int, uneven: bool, name: str
) -> tuple[str, str]:
    """The kind of the text, and what the numbers of its records count."""
    con.execute("SET VARIABLE import_file = ?", [pattern_of(path)])
    with path.open(encoding="utf-8") as file:
        head = [line.strip() for line in file.read(4 << 20).split("\n", 50) if line.strip()]
    if not head or head == ["null"]:
        raise ImportRefused(f"{name}: the file is empty")
    first = head[0]
    if first.startswith("<"):
        raise ImportRefused(f"{name}, line 1: this is a web page (HTML or XML), not a list")
    if first[0] in "[{":
        lines = first[-1] == "}" and any(line[0] == "{" for line in head[1:2])
        form = "array" if first[0] == "[" else "newline_delimited" if lines else "unstructured"
        _json(con, form, path.stat().st_size if form == "unstructured" else longest)
        if lines and uneven:
            with path.open(encoding="utf-8") as file:
                _number(con, [at for at, line in enumerate(file, start=1) if line.strip()], 1)
        return ("JSON lines", "line") if lines else ("JSON", "entry")
    if any(line.startswith("Date:") for line in head) and any(
        re.match(r"User ?name:", line, re.I) for line in head
    ):
        _lines(con, _blocks(path), path.with_name("blocks"))
        return "text of a TikTok export", "entry"
    delimiter = max(_DELIMITERS, key=first.count)
    if delimiter not in first and plain_name(first.strip('"')) not in HANDLE_NAMES:
        if plain_name(first) in _TITLES:
            raise ImportRefused(
                f"{name}, line 1: {first!r} looks like a column title; call it username "
                "or remove it"
            )
        con.execute(sql("import_lines"))
        return "plain list", "line"
    delimiter = delimiter if delimiter in first else ","
    _table(con, path, name, delimiter)
    if uneven:
        _number_rows(con, path, delimiter)
    return {"\t": "TSV"}.get(delimiter, "CSV"), "line"


def _json(con: duckdb.DuckDBPyConnection, form: str, longest: int) -> None:
    """Load a JSON file. Objects have at most `longest` bytes, or 16 MB in an array."""
    most = 16 << 20 if form == "array" else max(1 << 20, longest + 1)
    con.execute("SET VARIABLE import_longest = ?", [most])
    con.execute(sql("import_json").replace("{form}", form))


def _blocks(path: Path) -> Iterator[dict[str, str]]:
    """The blocks of TikTok's text export: `Date: …`, then `Username: …`."""
    block: dict[str, str] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            name, colon, value = line.partition(":")
            name = plain_name(name)
            if not colon or name not in ("date", "username"):
                continue
            name = "Date" if name == "date" else "UserName"
            if name in block:
                yield block
                block = {}
            block[name] = value.strip()
    if block:
        yield block


def _lines(con: duckdb.DuckDBPyConnection, rows: Iterator[dict[str, str]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    con.execute("SET VARIABLE import_file = ?", [pattern_of(path)])
    _json(con, "newline_delimited", 0)


def _table(con: duckdb.DuckDBPyConnection, path: Path, name: str, delimiter: str = ",") -> None:
    """Load a table with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        before, header = next(
            ((n, row) for n, row in enumerate(csv.reader(file, delimiter=delimiter)) if any(row)),
            (0, []),
        )
    names = [text.strip() or f"column {number}" for number, text in enumerate(header, start=1)]
    twice = {column for column in names if names.count(column) > 1}
    if twice:
        raise ImportRefused(
            f"{name}, line {before + 1}: two columns are called {clean(min(twice))!r}"
        )
    con.execute("SET VARIABLE import_file = ?", [pattern_of(path)])
    con.execute("SET VARIABLE import_skipped = ?", [before])
    columns = dict.fromkeys(names, "VARCHAR")
    con.read_csv(
        con.execute("SELECT getvariable('import_file')").fetchall()[0][0],
        columns=columns, header=True, sep=delimiter, quotechar='"', escapechar='"',
        auto_detect=False, hive_partitioning=False, skiprows=before,
    ).create_view("import_table")  # fmt: skip
    con.execute(sql("import_table"))


def _number_rows(con: duckdb.DuckDBPyConnection, path: Path, delimiter: str) -> None:
    """Number the rows of a table by the lines on which they begin, as editors count."""
    lines: list[int] = []
    start, width = 1, 0
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        with suppress(csv.Error):  # a field that is too long keeps the count of rows
            for row in rows:
                if any(row) if not lines else row or width == 1:
                    width = width if lines else len(row)
                    lines.append(start)
                start = rows.line_num + 1
    if lines:
        _number(con, lines[1:], lines[0] + 1)


def _number(con: duckdb.DuckDBPyConnection, lines: Sequence[int], first: int) -> None:
    """Replace the numbers of `records`, which count from `first`, by `lines`."""
    counted = range(first, first + len(lines))
    table = pa.table(
        {"counted": pa.array(counted, pa.int64()), "line": pa.array(lines, pa.int64())}
    )
    put_table(con, "import_numbers", table)
    run_sql(con, "import_numbers")


def _from_sheet(path: Path, scratch: Path, name: str) -> Path:
    """The first sheet with rows, as CSV."""
    try:
        import python_calamine as calamine
    except ImportError:
        raise ImportRefused(
            f"{name}: reading XLSX needs an extra: pip install 'sf_assets[import]'"
        ) from None
    target = scratch / "sheet.csv"
    try:
        with calamine.load_workbook(str(path)) as book:
            sheet = next(
                (each for each in map(book.get_sheet_by_name, book.sheet_names) if each.height),
                None,
            )
            if sheet is None:
                raise ImportRefused(f"{name}: no sheet has rows")
            with target.open("w", encoding="utf-8", newline="") as file:
                write = csv.writer(file)
                for row in sheet.iter_rows():
                    write.writerow([_cell(value) for value in row])
    except (calamine.CalamineError, OSError) as error:
        raise ImportRefused(f"cannot read {name} ({clean(first_line(error), 200)})") from None
    return target


def _cell(value: object) -> object:
    # Numbers come as floats. Long ones have lost digits, which is detected later.
    return int(value) if isinstance(value, float) and value.is_integer() else value
