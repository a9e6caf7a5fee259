"""The packed archive gives the same rows and tables as the full one, whatever is told when."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from sf_assets.ingest.reader import new_fields
from sf_assets.model import Relation
from sf_assets.social_fetch import parse_page
from sf_assets.storage.home import Home
from sf_assets.storage.records import Landed, Page
from sf_assets.warehouse import pack as packing
from sf_assets.warehouse.archive import SnapshotRow, snapshots_in
from sf_assets.warehouse.archive_names import all_files, archive_files, is_packed, name_of
from sf_assets.warehouse.archive_reader import ArchiveReader, Wanted, described, show_lists
from sf_assets.warehouse.ledger import METADATA_KEY
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.packing import COLUMNS, with_macros
from sf_assets.warehouse.rebuild import newest_rows
from sf_assets.warehouse.statements import Rows, quoted
from sf_assets.warehouse.verify import verify

from ..homes import fill
from ..lists import Lists, Told, on, who
from ..truth.invent import invent
from ..truth.player import Warehouse

SHOWN = ["relation", "handle", "position"]
SHOWN += ["avatar_urls" if name == "avatar_rests" else name for name in COLUMNS]


def rows_of(archive: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row that the archive has, by file, as the full files have them."""
    made = {}
    reader = ArchiveReader(archive)
    with with_macros() as con:
        rows = Rows(con)
        for path in archive_files(archive):
            wanted = [
                Wanted(row.archive_file, row.relation, row.handle, row.snapshot_date, row.attempt)
                for row in snapshots_in(path)
            ]
            show_lists(con, rows, reader, "shown", wanted)
            columns = ", ".join(SHOWN)
            made[name_of(path)] = con.execute(
                f"SELECT {columns} FROM shown ORDER BY ALL"
            ).fetchall()
    return made


def keep_full(archive: Path, aside: Path) -> None:
    """Copy full files elsewhere before they go."""
    for path in all_files(archive):
        if not is_packed(path):
            (aside / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, aside / name_of(path))


def replayed(
    archive: Path, root: Path, order: Callable[[list[SnapshotRow]], None] | None = None
) -> dict[str, Any]:
    """The tables that an archive gives alone: all at once, or in some order, a day at a time."""
    fresh = Lists(root)
    fresh.home = Home(archive.parent)
    try:
        rows = list(newest_rows(archive).values())
        parts: list[list[SnapshotRow]] = [rows]
        if order is not None:
            order(rows)
            parts = [list(part) for _, part in groupby(rows, key=day_of)]
        for part in parts:
            fresh.record(part)
            fresh.derive()
        return fresh.tables()
    finally:
        fresh.close()


def day_of(row: SnapshotRow) -> date:
    return row.snapshot_date


def in_order(rows: list[SnapshotRow]) -> None:
    rows.sort(key=day_of)


def days_shuffled(rows: list[SnapshotRow]) -> None:
    days = sorted({row.snapshot_date for row in rows})
    random.Random(len(rows)).shuffle(days)
    rows.sort(key=lambda row: days.index(row.snapshot_date))


@pytest.mark.parametrize(("seed", "at_a_time"), [(1, packing.ROWS_AT_A_TIME), (2, 5)])
def test_random_worlds_give_the_same_tables(
    seed: int, at_a_time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed after every day, some files late, long lists in parts; then from the archive alone,
    in any order."""
    monkeypatch.setattr(packing, "ROWS_AT_A_TIME", at_a_time)
    chance = random.Random(seed)
    few = Lists.lake is not None  # each day is derived three times there
    worlds = [invent(seed, number, days=3 if few else 5) for number in range(1, 2 if few else 3)]
    played = Warehouse(tmp_path)
    home, aside = played.lists.home, tmp_path / "aside" / "archive"
    held: dict[Path, Path] = {}
    for day in sorted({day for world in worlds for day in world.days}):
        played.play_day(worlds, day)
        keep_full(home.archive, aside)
        for path in [path for path in all_files(home.archive) if not is_packed(path)]:
            if chance.random() < 0.2:
                held[path] = path.rename(tmp_path / path.name)
        assert pack(home.archive).left == []
        for path in [path for path in held if chance.random() < 0.5]:
            held.pop(path).rename(path)
    for path, where in held.items():
        where.rename(path)
    tables = played.lists.tables()
    played.close()
    pack(home.archive)
    for path in all_files(home.archive):
        if not is_packed(path):
            path.unlink()
    assert rows_of(home.archive) == rows_of(aside)
    for number, order in enumerate((None, days_shuffled)):
        full, packed = (
            replayed(archive, tmp_path / f"{name}-{number}", order)
            for name, archive in (("full", aside), ("packed", home.archive))
        )
        assert packed == full
    assert replayed(aside, tmp_path / "daily", in_order) == tables


def days_of_nova(lists: Lists, days: int, size: int = 30) -> None:
    """A list that changes a little every day, archived and not derived."""
    for day in range(1, days + 1):
        accounts = range(size + day, day, -1)
        told = [who(n, displayName=f"Fan {n} {(n + day) // 9}") for n in accounts if (n + day) % 9]
        lists.load([Told(day, "nova", tuple(told))])


@pytest.mark.parametrize("order", ["as listed", "one late", "shuffled"])
def test_long_lists_are_packed_in_parts_whatever_the_order_of_their_rows(
    lists: Lists, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside lists of nobody, and with somebody who moves from the end of the list to its top."""
    monkeypatch.setattr(packing, "ROWS_AT_A_TIME", 5)
    monkeypatch.setattr(packing, "ROW_GROUP_BYTES", 3_000)
    for day in (1, 2, 3):
        accounts = [99 - day, *(n for n in range(95 - day, 2, -1) if n % 7 != day), 95 + day]
        told = [who(n, bio=f"{n} {(n + day) // 20}") for n in accounts]
        lists.load([Told(day, "nova", tuple(told)), Told(day, "alto", ()), Told(day, "zeta", ())])
    archive = lists.home.archive
    before = rows_of(archive)
    for path in all_files(archive):
        table = pq.read_table(path, partitioning=None)
        at = list(range(len(table)))
        if order == "one late":
            at.append(at.pop(30))
        if order == "shuffled":
            random.Random(3).shuffle(at)
        pq.write_table(table.take(at), path, row_group_size=9)
    assert pack(archive).left == []
    first, *later = [path for path in archive_files(archive) if is_packed(path)]
    assert pq.read_metadata(first).num_row_groups > 1
    assert all(path.stat().st_size < first.stat().st_size for path in later)
    for path in all_files(archive):
        if not is_packed(path):
            path.unlink()
    assert rows_of(archive) == before


PACK = "import sys, pathlib, sf_assets.warehouse.pack as p; p.pack(pathlib.Path(sys.argv[1]))"


@pytest.mark.parametrize("step", ["packed:1", "packed:4", "unpacked_removed:2", None])
def test_packing_that_is_killed_loses_nothing(lists: Lists, step: str | None) -> None:
    days_of_nova(lists, 5)
    archive = lists.home.archive
    before = rows_of(archive)
    env = {**os.environ, "SOCIALFETCH_BASE_URL": "http://127.0.0.1:1"}
    env |= {"SF_ASSETS_CRASH_AT": step} if step else {}
    process = subprocess.Popen([sys.executable, "-c", PACK, str(archive)], env=env)
    if step is None:
        # Whenever it is hit.
        while process.poll() is None and not any(map(is_packed, all_files(archive))):
            time.sleep(0.001)
        process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert rows_of(archive) == before
    (archive / "day=2026-11-02" / ".half.packed.parquet.partial").write_bytes(b"half")
    assert pack(archive).left == []
    assert rows_of(archive) == before
    full = [path.parent.name for path in all_files(archive) if not is_packed(path)]
    assert full == ["day=2026-11-05"]


def test_a_file_that_is_lost_costs_the_lists_up_to_the_next_copy(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LIST_COPY_DAYS", 3)
    monkeypatch.setattr(packing, "WHOLE_COPY_DAYS", 9)
    days_of_nova(lists, 11)
    archive = lists.home.archive
    pack(archive)
    files = {path.parent.name: path for path in archive_files(archive)}
    lost = files[f"day={on(2)}"]
    before = rows_of(archive)
    lost.unlink()
    problems: list[str] = []
    rows = {row.snapshot_date: row for row in newest_rows(archive, problems).values()}
    # A list is copied every three days, so on day 4, and profiles with it on day 10.
    assert {on(day) for day in range(1, 12)} - rows.keys() == {on(2), on(3)}
    named = ["the list of nova followers 2026-11-03"]
    named += [f"profiles of nova followers {on(day)}" for day in range(4, 10)]
    for problem, name in zip(problems, named, strict=True):
        assert str(lost) in problem
        assert name in problem
    reader = ArchiveReader(archive)
    at = SHOWN.index
    for day, row in rows.items():
        if reader.packed(row.archive_file) is None:
            continue
        (listed,) = reader.rows(row.archive_file, [0])
        for name in ("position", "account_handle", "platform_user_id", "followers"):
            assert listed[name].to_pylist() == [one[at(name)] for one in before[row.archive_file]]
        same = listed["sec_uid"].to_pylist() == [
            one[at("sec_uid")] for one in before[row.archive_file]
        ]
        assert same is not (on(4) <= day < on(10))


def test_a_file_that_is_lost_is_named_once_as_the_one_to_restore(tmp_path: Path) -> None:
    home = fill(tmp_path / "home", days=4)
    pack(home.archive)
    lost, next_one, *_ = sorted(path for path in all_files(home.archive) if is_packed(path))
    lost.unlink()
    assert [one.problems for one in verify(home) if one.check == "archive"] == [[
        f"{lost} is missing or another one, and {next_one} builds on it: restore it from a backup, "
        f"or move {next_one.name} away to continue without its lists"
    ]]  # fmt: skip


def land_as_read(
    lists: Lists, told: Told, more: dict[str, Any], page_more: dict[str, Any]
) -> Landed:
    """Land a list whose first account and only page have more fields than the contract."""
    (body,) = told.bodies()
    page = json.loads(body)
    items = page["data"]["followers" if told.relation == "followers" else "accounts"]
    items[0] |= more
    items[0]["metrics"] |= more.get("metrics", {})
    page["data"] |= page_more
    body = json.dumps(page).encode()
    found = new_fields(parse_page(told.relation, body))
    log = lists.landing.open(told.key)
    assert log is not None
    with log:
        log.begin("test", "test")
        log.add_page(
            Page(1, None, "2026-11-01T06:00:00Z", "r", 1, False, 1, body,
                 new_fields=sum(found.values()))
        )  # fmt: skip
        log.finish("found", "exhausted", "test")
    landed = lists.landing.read(told.key)
    assert landed is not None
    return landed


@pytest.mark.parametrize(
    ("relation", "more", "kept"),
    [
        ("followers", {"followedAt": 17, "tags": ["a", {"b": None}]},
         {"followedAt": 17, "tags": ["a", {"b": None}]}),
        # Of a follower the contract has no region, of a followed account it has.
        ("followers", {"region": "AT"}, {"region": "AT"}),
        ("following", {"region": "AT", "x": "{}"}, {"x": "{}"}),
        ("followers", {"metrics": {"followers": 5, "following": 6, "likes": 7}},
         {"metrics": {"likes": 7}}),
        ("following", {"quoted \"name\"": "line\nbreak 😀"}, {"quoted \"name\"": "line\nbreak 😀"}),
    ],
)  # fmt: skip
def test_fields_that_the_contract_does_not_have_are_kept(
    lists: Lists, relation: Relation, more: dict[str, Any], kept: dict[str, Any]
) -> None:
    archive = lists.home.archive
    for day in (1, 2, 3):
        told = Told(day, "nova", (who(2), who(1)), relation=relation)
        page_more = {"viewer": {"country": "AT"}} if day == 2 else {}
        landed = land_as_read(lists, told, more if day > 1 else {}, page_more)
        lists.load_again(landed)
    pack(archive)
    extra = SHOWN.index("extra")
    rows = [[one[extra] for one in rows] for _, rows in sorted(rows_of(archive).items())]
    assert [[one and json.loads(one) for one in day] for day in rows] == [
        [None, None], [kept, None], [kept, None]
    ]  # fmt: skip
    pages = [described(path).page_fields for path in archive_files(archive)]
    said = json.loads(pages[1][0][3])
    assert said["data"]["viewer"] == {"country": "AT"}
    assert [len(one) for one in pages] == [0, 1, 0]
    assert is_packed(archive_files(archive)[1])


def as_first_format(archive: Path, digest: str) -> None:
    """Rewrite full files as an older version wrote them; `digest` is what stood for profiles."""
    with with_macros() as con:
        for path in all_files(archive):
            said = json.dumps(
                {
                    "format": 1,
                    "snapshots": described(path).snapshots,
                    "attempts": described(path).attempts,
                }
            )
            older = path.with_suffix(".older")
            con.execute(
                "COPY (SELECT * EXCLUDE (avatar_rests, extra, profile_digest), "
                f"internal.avatar_urls_of(avatar_rests, avatar_url) AS avatar_urls{digest} "
                f"FROM read_parquet('{path}', hive_partitioning = false)) TO '{older}' "
                f"(FORMAT parquet, KV_METADATA {{{METADATA_KEY}: {quoted(said)}}})"
            )
            older.replace(path)


@pytest.mark.parametrize(
    "digest",
    ["", ", profile_digest", ", CAST(position + 7 AS UINTEGER) AS profile_digest",
     ", CAST(NULL AS UINTEGER) AS profile_digest"],
    ids=["none", "same", "another", "null"],
)  # fmt: skip
def test_an_archive_of_the_first_format_is_converted(lists: Lists, digest: str) -> None:
    sizes = {"large": "https://p16.invalid/new~1080.webp", "medium": "other", "thumb": ""}
    for day in (1, 2, 3):
        pictured = who(3, avatarUrl="https://p16.invalid/new~720.webp", avatarUrls=sizes)
        lists.load(
            [
                Told(day, "nova", (who(day + 5), pictured, who(2, bio=f"{day}"), *range(20, 40))),
                Told(day, "vega", (who(3, posts=day), who(1)), relation="following"),
                Told(day, "shut", status="private"),
            ]
        )
    archive = lists.home.archive
    as_first_format(archive, digest)
    before = rows_of(archive)
    assert any(sizes in row for rows in before.values() for row in rows)
    assert pack(archive).left == []
    assert [is_packed(path) for path in archive_files(archive)] == [True, True, False]
    assert rows_of(archive) == before


PAGE = Path(__file__).parents[2] / "docs" / "archive.md"


def test_the_macro_of_the_page_reads_a_list_without_our_code(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LIST_COPY_DAYS", 4)
    days_of_nova(lists, 9)
    told = (who(5, bio=None), who(6, displayName=None, metrics={"followers": 1, "following": 2}))
    lists.load([Told(day, "nova", told[:day], relation="following") for day in (1, 2)])
    archive = lists.home.archive
    pack(archive)
    before = rows_of(archive)
    (statements,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = ["position", "account_handle", "profile_url", "platform_user_id", "sec_uid",
             "display_name", "bio", "avatar_url", "verified", "private_account", "followers",
             "following"]  # fmt: skip
    with duckdb.connect() as con:
        con.execute(statements)
        for day in range(1, 10):
            for relation in ("followers", "following") if day < 3 else ("followers",):
                shown = con.execute(
                    f"SELECT {', '.join(names)} FROM archived_list(?, ?, 'nova', ?)",
                    [str(archive), relation, on(day)],
                ).fetchall()
                assert shown == [
                    tuple(row[SHOWN.index(name)] for name in names)
                    for file, rows in sorted(before.items())
                    for row in rows
                    if file.startswith(f"day={on(day)}") and row[0] == relation
                ]


def test_what_does_not_fit_into_memory_goes_to_a_folder_of_one_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default two processes that were started in one folder write over each other's `.tmp`."""
    monkeypatch.chdir(tmp_path)
    with with_macros() as one, with_macros() as other:
        folders = []
        for con in (one, other):
            con.execute("SET memory_limit = '30MB'")
            con.execute("CREATE TABLE t AS SELECT random() AS n FROM range(8_000_000)")
            ((folder,),) = con.execute("SELECT current_setting('temp_directory')").fetchall()
            folders.append(Path(folder))
        assert folders[0] != folders[1]
        assert all(folder.is_dir() for folder in folders)
        assert list(tmp_path.iterdir()) == []
    assert not any(folder.exists() for folder in folders)
