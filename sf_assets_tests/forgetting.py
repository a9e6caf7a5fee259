"""What tests of forgetting share: days through a door, tables with names, all texts of a home."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sf_assets.storage.door import Door
from sf_assets.storage.tombstone import Pseudonyms

from .lists import Told

Tables = dict[str, list[tuple[Any, ...]]]


class Doors:
    """Which door the pages of a `Told` come through just now."""

    door: Door | None = None


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    made, plain = Doors(), Told.bodies

    def bodies(told: Told) -> Iterator[bytes]:
        for body in plain(told):
            yield made.door.page(told.relation, told.key.day, body) if made.door else body

    monkeypatch.setattr(Told, "bodies", bodies)
    return made


def back_to(
    ids: Pseudonyms, numbers: Iterable[str], sec_uids: Iterable[str], handles: Iterable[str]
) -> dict[Any, str]:
    """Pseudonym -> the id that it stands for, also as an account_id has it."""
    back: dict[Any, str] = {ids.of("number", one): one for one in numbers}
    back |= {f"sec:{ids.of('sec_uid', one)}": f"sec:{one}" for one in sec_uids}
    for handle in handles:
        pseudonym = ids.of("handle", handle)
        back |= {pseudonym: handle, f"@{pseudonym}": f"@{handle}"}
    return back


def named_again(tables: Tables, back: Mapping[Any, str]) -> Tables:
    """The tables with ids in the place of their pseudonyms, without what profiles say."""
    made = {
        name: sorted((tuple(back.get(value, value) for value in row) for row in rows), key=repr)
        for name, rows in tables.items()
    }
    made["internal.ids"] = sorted((row[1],) for row in made["internal.ids"])
    made["internal.profiles"] = sorted((row[0],) for row in made["internal.profiles"])
    made["internal.churn_profiles"] = [row[:5] for row in made["internal.churn_profiles"]]
    counted: dict[tuple[Any, ...], int] = {}
    for *of, _, accounts in made.pop("internal.profile_counts"):
        counted[tuple(of)] = counted.get(tuple(of), 0) + accounts
    return made | {"profile_counts": sorted(counted.items(), key=repr)}


def assert_equal(found: Tables, expected: Tables) -> None:
    """Both have the same tables, with the same rows."""
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        wrong = [row for row in found[name] if row not in rows][:5]
        missing = [row for row in rows if row not in found[name]][:5]
        assert (wrong, missing, len(found[name])) == ([], [], len(rows)), name


def texts_of(root: Path) -> Iterator[tuple[Path, str]]:
    """All that can be read in a folder, in whatever form; shares nothing with `forget`."""
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        body = path.read_bytes()
        yield path, body.decode("latin-1")
        if path.suffix == ".zst":
            with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as lines:
                yield path, lines.read().decode("utf-8", "replace")
        elif path.suffix == ".parquet":
            yield path, str(pq.read_table(path).to_pylist()) + str(pq.read_metadata(path).metadata)
        elif body.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(path)) as con:
                yield path, "\n".join(con.iterdump())
        elif body[8:12] == b"DUCK":
            with duckdb.connect(str(path), read_only=True) as con:
                tables = con.execute(
                    "SELECT schema_name, table_name FROM duckdb_tables()"
                ).fetchall()
                for schema, table in [*tables, ("internal", "profiles")]:
                    yield path, str(con.execute(f"FROM {schema}.{table}").fetchall())


def places_of(root: Path, terms: Iterable[str]) -> set[tuple[str, str]]:
    """Where a term stands, as a word: the file and the term."""
    words = {term: re.compile(rf"(?<![\w.]){re.escape(term)}(?![\w.])", re.I) for term in terms}
    found = set()
    for path, text in texts_of(root):
        lower = text.lower()
        for term, word in words.items():
            if term.lower() in lower and word.search(text):
                found.add((str(path.relative_to(root)), term))
    return found
