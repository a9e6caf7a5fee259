"""Whoever is forgotten is nowhere in the home, and every figure stays what it was."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sf_assets.cli.main import main
from sf_assets.handles.parse import read_registry
from sf_assets.people.errors import ForgetRefused
from sf_assets.people.forget import Journal, find_person, forget, look
from sf_assets.people.forget_files import JOURNAL, Terms
from sf_assets.people.forget_rows import Person
from sf_assets.storage.door import ALWAYS, FILE_NAME, Door, note_forgotten
from sf_assets.storage.home import HOME_FORMAT, Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.tombstone import KEY_NAME, Ids, pseudonyms_of
from sf_assets.warehouse.connection import locked, reading, writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.handles import record_handles
from sf_assets.warehouse.load import load
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rebuild import rebuild
from sf_assets.warehouse.verify import verify

from ..components import missing
from ..forgetting import Doors, Tables, assert_equal, back_to, doors, named_again, places_of
from ..lists import DERIVED_TABLES, ID_BASE, INCIDENTAL, Told, nameless, on, who
from .importing import Importer

__all__ = ["doors"]

SEC = "MS4wLjABAAAA" + "x" * 62
# Two who are forgotten: Xenia (3), with a short handle, and Yoko (7).
XENIA = {"displayName": "Xenia Quist", "bio": "xenia writes"}
YOKO = {"displayName": "Yoko Zimt"}
NUMBERS = {str(ID_BASE + 3), str(ID_BASE + 7)}
SEC_UIDS = {f"{SEC}X3", f"{SEC}Y7"}
HANDLES = {"xen", "xenia.q", "yoko.zimt"}
TERMS = {*NUMBERS, *SEC_UIDS, *HANDLES, "Xenia Quist", "Yoko Zimt", "xenia writes"}


def xenia(handle: str = "xen", **more: Any) -> Any:
    return who(3, handle, **{"sec_uid": f"{SEC}X3", **XENIA, **more})


def yoko(handle: str = "yoko.zimt", **more: Any) -> Any:
    return who(7, handle, **{"sec_uid": f"{SEC}Y7", **YOKO, **more})


def lists_of(day: int) -> list[Told]:
    """The lists of a day: of nova, who is followed by both, and of vega, who follows Yoko."""
    others = (20 + day, *range(12, 20))
    both: dict[int, tuple[Any, ...]] = {
        1: (xenia(), yoko()),
        2: (xenia(), yoko(sec_uid=None)),
        3: (xenia(user_id=None), yoko()),
        4: (yoko(), xenia()),
        # From here on they are forgotten. They lose ids, are renamed, leave and come back.
        5: (nameless(3, "xen"), yoko(user_id=None)),
        6: (xenia("xenia.q"), yoko()),
        7: (nameless(3, "xenia.q"),),
        8: (who(50, "yoko.zimt", displayName="Somebody Else"),),
        9: (who(50, "yoko.zimt", displayName="Somebody Else"), yoko("yoko.new"), xenia("xenia.q")),
    }
    return [
        Told(day, "nova", (*others[:3], *both[day], *others[3:])),
        Told(day, "vega", (61, *both[day][-1:], 60), relation="following"),
    ]


def made_home(root: Path) -> Home:
    root.mkdir(parents=True, mode=0o700)
    home = Home(root)
    home.marker.write_text(json.dumps({"format": HOME_FORMAT, "start_date": "2026-11-01"}))
    home.registry.write_text("handles: [nova, vega]\n")
    return home


def add_days(home: Home, days: Iterable[int], doors: Doors | None = None, *more: Told) -> None:
    """Land, load and derive, as a run does."""
    if doors is not None:
        doors.door = Door(home.root)
    landing = DiskLanding(home.landing)
    for day in days:
        landed = [told.land(landing) for told in (*lists_of(day), *more)]
        rows, failures = load(lambda: writing(home.warehouse), home.archive, landed)
        assert not failures
        with writing(home.warehouse) as con:
            record_handles(con, read_registry(home.registry), on(day))
            derive(con, home.archive)
        for row in rows:
            if day % 2:
                assert landing.pack(row.key, (row.attempt, row.pages))
        publish(home)
        pack(home.archive)


def tables_of(home: Home) -> Tables:
    made: Tables = {}
    with writing(home.writable) as con:
        for name in DERIVED_TABLES:
            cursor = con.execute(f"FROM {name}")
            kept = [at for at, one in enumerate(cursor.description) if one[0] not in INCIDENTAL]
            made[name] = [tuple(row[at] for at in kept) for row in cursor.fetchall()]
    return made


def with_names(home: Home, like: Home) -> Tables:
    """The tables of a home with ids again."""
    handles = {*HANDLES, "yoko.new"}
    return named_again(
        tables_of(home), back_to(pseudonyms_of(like.root), NUMBERS, SEC_UIDS, handles)
    )


def run(home: Home, *words: str, env: dict[str, str] | None = None, **more: Any) -> Result:
    env = {"SF_ASSETS_HOME": str(home.root), "SF_ASSETS_STORAGE": "", **(env or {})}
    return CliRunner().invoke(main, ["forget", *words], env=env, **more)


def litter(home: Home) -> None:
    """What else a home has: notes, logs, a database with rows that were deleted, old warehouses."""
    (home.root / "alerts.jsonl").write_text(
        json.dumps({"change_id": "notable/nova/@xen", "at": "x", "how": "Xenia Quist (@xen)"})
        + "\n"
    )
    logs = home.root / "dagster" / "storage" / "run" / "compute_logs"
    logs.mkdir(parents=True)
    (logs / "x.err").write_text("lost: @yoko.zimt, @xen. maxen and xenon stay\n")
    with closing(sqlite3.connect(home.root / "dagster" / "events.db")) as con:
        con.execute("PRAGMA journal_mode = WAL")
        con.execute("CREATE TABLE event_logs (id INTEGER PRIMARY KEY, event TEXT)")
        said = json.dumps(
            {"label": "lost", "text": json.dumps(["Yoko Zimt", "xen", str(ID_BASE + 7)])}
        )
        con.executemany("INSERT INTO event_logs (event) VALUES (?)", [(said,)] * 200)
        con.execute("DELETE FROM event_logs WHERE id > 5")
        con.commit()
    rebuild(home)  # keeps the old file


@pytest.fixture(scope="module")
def littered(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of three days with all that a home may have; tests take copies."""
    home = made_home(tmp_path_factory.mktemp("littered") / "home")
    add_days(home, range(1, 4))
    litter(home)
    return home


@pytest.fixture
def home(littered: Home, tmp_path: Path) -> Home:
    shutil.copytree(littered.root, tmp_path / "home", symlinks=True)
    return Home(tmp_path / "home")


def test_whoever_is_forgotten_in_the_middle_of_a_month_is_nowhere_and_figures_stay(
    home: Home, tmp_path: Path, doors: Doors
) -> None:
    plain = Home(tmp_path / "plain")
    shutil.copytree(home.root, plain.root, symlinks=True)
    DiskLanding(home.landing).quarantine(lists_of(3)[0].key, 9, "broken", b'{"a": ["@yoko.zimt"]}')
    before = {place for place, _ in places_of(home.root, TERMS)}
    parts = {"archive", "landing", "warehouse", "published", "dagster", "alerts.jsonl"}
    assert parts <= {place.split("/")[0] for place in before}
    dry = run(home, "@xen", str(ID_BASE + 7), "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    assert parts <= {*json.loads(dry.stdout)["places"]}
    said = json.loads(dry.stdout)["accounts"]
    assert [one["numbers"] for one in said] == [[str(ID_BASE + 3)], [str(ID_BASE + 7)]]
    assert said[0]["rows"] == {"nova followers": 3}
    assert {place for place, _ in places_of(home.root, TERMS)} == before

    done = run(home, "@xen", str(ID_BASE + 7), "--yes", "--reason", "mail of 3 May")
    assert done.exit_code == 0, done.output
    assert places_of(home.root, TERMS) == set()
    assert "maxen and xenon stay" in next(home.root.rglob("x.err")).read_text()
    assert not (home.root / JOURNAL).exists()
    assert (home.root / KEY_NAME).stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in (home.root / FILE_NAME).read_text().splitlines()]
    assert [(line["reason"], len(line["number"])) for line in lines] == [("mail of 3 May", 1)] * 2
    assert_equal(with_names(home, home), with_names(plain, home))
    assert [one.problems for one in verify(home, full=True) if one.problems] == []

    add_days(plain, range(4, 10))
    add_days(home, range(4, 10), doors)
    # That handle is somebody else's now.
    assert places_of(home.root, TERMS - {"yoko.zimt"} | {"yoko.new"}) == set()
    assert "yoko.zimt" in str(tables_of(home)["internal.presences"])
    assert_equal(with_names(home, home), with_names(plain, home))
    assert [one.problems for one in verify(home, full=True) if one.problems] == []


STEPS = ["staging:2", "staged", "rewritten:2", *(f"forgot:{n}" for n in range(1, 6)), "copied:2"]


def killed_at(home: Home, step: str) -> None:
    command = [sys.executable, "-m", "sf_assets", "forget", "yoko.zimt", "xen", "--yes"]
    env = {**os.environ, "SF_ASSETS_HOME": str(home.root), "SF_ASSETS_CRASH_AT": step,
           "SOCIALFETCH_BASE_URL": "http://127.0.0.1:1"}  # fmt: skip
    killed = subprocess.run(command, env=env, check=False, timeout=60, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_goes_on(step: str, home: Home) -> None:
    figures = tables_of(home)
    killed_at(home, step)
    done = run(home)
    assert done.exit_code == 0, done.output
    assert places_of(home.root, TERMS) == set()
    back = back_to(pseudonyms_of(home.root), NUMBERS, SEC_UIDS, HANDLES)
    assert_equal(named_again(tables_of(home), back), named_again(figures, {}))
    assert run(home).exit_code == 2  # there is nothing to go on with


def test_a_rebuild_finishes_an_archive_that_was_half_rewritten(home: Home) -> None:
    killed_at(home, "rewritten:2")
    assert home.rewriting.exists()
    assert rebuild(home).problems == []
    assert not home.rewriting.exists()


@pytest.mark.scale
@pytest.mark.skipif(missing("lake") is not None, reason="needs DuckDB's lake extension")
def test_a_lake_keeps_no_version_and_no_file_with_them(tmp_path: Path) -> None:
    home = replace(
        made_home(tmp_path / "home"), address=f"ducklake:{tmp_path / 'catalog.ducklake'}"
    )
    landing = DiskLanding(home.landing)
    for day in (1, 2, 3):
        load(lambda: writing(home.writable), home.archive,
             [told.land(landing) for told in lists_of(day)])  # fmt: skip
        with writing(home.writable) as con:
            derive(con, home.archive)
    figures = tables_of(home)
    people = look(home, ["xen", "yoko.zimt"], lambda _: None)
    assert places_of(home.root / "lake", TERMS)
    assert forget(home, Journal(home.root / JOURNAL, people, ""), lambda _: None).done
    assert places_of(home.root, TERMS) == set()
    back = back_to(pseudonyms_of(home.root), NUMBERS, SEC_UIDS, HANDLES)
    assert_equal(named_again(tables_of(home), back), named_again(figures, {}))


def test_a_handle_of_two_accounts_is_refused_with_what_tells_them_apart(home: Home) -> None:
    add_days(home, (8, 9))
    with pytest.raises(ForgetRefused, match=f"{ID_BASE + 50}"):
        find_person(home, "yoko.zimt")
    (person,) = look(home, [str(ID_BASE + 7)], lambda _: None)
    # Hers until somebody else was seen with it.
    assert person.handles == {"yoko.zimt": (None, on(8).isoformat()), "yoko.new": (None, None)}
    assert person.terms >= {f"{SEC}Y7", "yoko.new", "Yoko Zimt"}
    forget(home, Journal(home.root / JOURNAL, [person], ""), lambda _: None)
    assert {term for _, term in places_of(home.root, TERMS)} & {"Yoko Zimt", f"{SEC}Y7"} == set()
    assert "Somebody Else" in str(tables_of(home)["internal.profiles"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nova",), "is tracked"),
        (("--everybody", "xen"), "not both"),
        ((), "give at least one ACCOUNT"),
        (("anon-0123456789abcdef",), "already forgotten"),
        (("  ",), "is not a handle"),
        (("Xenia Quist",), "is not a handle"),
        (("https://www.tiktok.com/@xen/video/1",), "is not a handle"),
        (("\u0130bo",), "is not a handle"),
    ],
)
def test_what_is_refused_changes_nothing(words: tuple[str, ...], said: str, home: Home) -> None:
    refused = run(home, *words, "--yes")
    assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    assert not (home.root / JOURNAL).exists()


def test_it_asks_first_and_waits_for_who_writes(home: Home) -> None:
    assert run(home, "xen", input="n\n").exit_code == 1
    assert not (home.root / FILE_NAME).exists()
    people = look(home, ["xen"], lambda _: None)
    with locked(home.warehouse), pytest.raises(Exception, match="has been writing"):
        forget(home, Journal(home.root / JOURNAL, people, ""), lambda _: None, wait_seconds=0)
    assert forget(home, Journal.of(home), lambda _: None).done  # type: ignore[arg-type]


LISTS = [
    {"handle": "xen", "platformUserId": str(ID_BASE + 3), "displayName": "Xenia Quist"},
    {"handle": "fan12", "platformUserId": str(ID_BASE + 12), "displayName": "Fan 12"},
    {"handle": "yoko.zimt", "displayName": "Yoko Zimt"},
]


def test_imports_are_gone_through_and_come_through_the_door(home: Home, tmp_path: Path) -> None:
    importer = Importer(home)
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    for path in (before, after):
        path.write_text(json.dumps(LISTS))
    importer.add(before, date(2026, 10, 1), total=3, name="before")
    with writing(home.warehouse) as con:
        derive(con, home.archive)
    plain = tmp_path / "plain"
    shutil.copytree(home.root, plain, symlinks=True)
    assert run(home, "xen", "yoko.zimt", "--yes").exit_code == 0
    assert places_of(home.root, TERMS) == set()
    for one in (importer, Importer(Home(plain))):
        one.add(after, date(2026, 10, 2), total=3, name="after")
        one.derive()
    assert places_of(home.root, TERMS) == set()
    assert_equal(with_names(home, home), with_names(Home(plain), home))
    assert [one.problems for one in verify(home, full=True) if one.problems] == []


def test_whoever_was_never_seen_is_kept_out_by_the_handle_alone(home: Home, doors: Doors) -> None:
    assert "not stored; `forget` keeps new data free of it" in run(home, "stranger", "--yes").stdout
    doors.door = Door(home.root)
    told = Told(5, "nova", (who(80, "stranger", displayName="Stran Ger"), 12))
    told.land(DiskLanding(home.landing))
    # The number that came with the handle counts from then on, whatever the handle.
    Told(6, "nova", (who(80, "re.named", sec_uid=None), nameless(80, "re.named"), 12)).land(
        DiskLanding(home.landing)
    )
    Told(7, "nova", (who(81, "re.named"), 12)).land(DiskLanding(home.landing))
    assert {place for place, _ in places_of(home.root, {"stranger", "Stran Ger"})} == set()
    assert {place for place, _ in places_of(home.root, {"re.named"})} == {
        "landing/2026-11-07/followers/nova.jsonl"
    }


@pytest.mark.parametrize("word", ["nobody", "snapshot_date", "private"])
def test_a_handle_that_is_a_word_of_our_own_texts_is_not_found_in_them(
    word: str, home: Home
) -> None:
    assert word.encode() in home.warehouse.read_bytes()
    add_days(home, [4], None, Told(4, "orion", (who(88, word, displayName="Quill Yarrow"), 12)))
    assert places_of(home.root, {"Quill Yarrow"}) != set()
    done = run(home, f"@{word}", "--yes", "--json")
    assert (done.exit_code, json.loads(done.stdout)["left"]) == (0, []), done.output
    assert "repeating" not in done.stderr
    with reading(home.readable) as con:
        shown = con.execute("SELECT account_handle FROM accounts").fetchall()
    assert (word,) not in shown
    assert places_of(home.root, {"Quill Yarrow"}) == set()


def escaped(text: str) -> str:
    return json.dumps(text)


def unescaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


WRITTEN = (
    str, escaped, unescaped, lambda text: escaped(escaped(text)),
    lambda text: escaped(unescaped(text)), lambda text: unescaped(unescaped(text)),
    lambda text: escaped(f"é🎉{text}"),
)  # fmt: skip


@pytest.mark.parametrize(
    "name", ["Ümit Öz", "\u0130brahim I\u015f\u0131k", 'Łucja "Lu"', "Straße 7", "Ünalan🎉"]
)
def test_a_name_is_found_and_taken_out_however_text_spells_it(name: str) -> None:
    terms = Terms([Person(names={name})])
    for spell in (str, str.lower, str.upper):
        for write in WRITTEN:
            text = f"lost: {write(spell(name))} today"
            assert terms.times_in(text) == 1, text
            assert terms.times_in_bytes(text.encode()) > 0, text
            left = terms.scrubbed(text).lower()
            assert not any(word in left for word in ("mit", "ahim", "ucja", "stra", "nalan")), text


def test_files_that_no_step_knows_are_cleaned_where_they_are_text_and_named_where_not(
    home: Home,
) -> None:
    day = home.landing / on(3).isoformat()
    said = f'{{"handle": "xen", "text": "yoko.zimt", "id": "{ID_BASE + 7}"}}'
    killed = [
        next(day.rglob("nova.jsonl*")).with_name(f".nova.jsonl{end}")
        for end in (".partial", ".zst.partial")
    ]
    notes = [day / "followers" / "note.txt", home.archive / "note.txt", home.landing / "x.jsonl"]
    for path in (*killed, *notes):
        path.write_text(said)
    packed = [home.root / "mine.gz", home.root / "mine.zip"]
    packed[0].write_bytes(gzip.compress(said.encode()))
    with zipfile.ZipFile(packed[1], "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.json", said)
    damaged = [home.root / "damaged.gz", home.root / "damaged.parquet"]
    for path in damaged:
        path.write_bytes(b"\x1f\x8bno")
    done = run(home, "xen", "yoko.zimt", "--yes", "--json")
    assert done.exit_code == 1, done.output
    left = {hit["place"].split(" ")[0] for hit in json.loads(done.stdout)["left"]}
    assert left == {path.name for path in (*packed, *damaged)}
    for path in damaged:
        path.unlink()
    assert {place for place, _ in places_of(home.root, TERMS)} == set()
    assert not any(path.exists() for path in killed)


X, Y = "111", "222"


@pytest.mark.parametrize(
    ("notes", "is_x", "is_y", "is_y_later"),
    [
        # Again by the handle alone: whoever has it next is not the person.
        ([(X, "xen"), (None, "xen")], True, False, False),
        ([(None, "xen"), (X, "xen")], True, False, False),
        ([(X, "xen"), (None, "xen"), (X, None)], True, False, False),
        ([(None, "xen"), (None, "xen"), (X, None)], True, True, True),
        ([(X, "xen"), (Y, "xen")], True, True, True),
    ],
)
def test_forgotten_twice_is_one_person(
    notes: list[Any], is_x: bool, is_y: bool, is_y_later: bool, tmp_path: Path
) -> None:
    for number, handle in notes:
        handles = {handle: ALWAYS} if handle else {}
        note_forgotten(tmp_path, [number] if number else [], [], handles, "")
    door = Door(tmp_path)
    shown = [Ids(X, None, "xen.new")], [Ids(Y, None, "xen")], [Ids(Y, None, "y.new")]
    found = [door.forgets(on(9), one) for one in shown]
    assert found == [[is_x], [is_y], [is_y_later]]
    # Later notes do not give the handle back.
    note_forgotten(tmp_path, [X], [], {"xen": ALWAYS}, "")
    assert Door(tmp_path).forgets(on(10), [Ids(None, None, "xen")]) == [is_y]


def test_lists_of_their_own_that_no_table_has_are_dropped(home: Home) -> None:
    Told(3, "yoko.zimt", (xenia(), 12)).land(DiskLanding(home.landing))
    home.vendor_facts.write_text(json.dumps({"handle": "yoko.zimt"}))
    assert run(home, "yoko.zimt", "xen", "--yes").exit_code == 0
    assert places_of(home.root, TERMS) == set()
    assert not list(home.root.rglob("*yoko*"))


def test_who_is_called_like_a_field_breaks_no_json() -> None:
    names = {"Name", "handle", "followers"}
    terms = Terms([Person(names=names)])
    event = {"name": "x", "handle": {"name": None}, "asset_key": ["followers"], "inner":
             json.dumps({"handle": 1})}  # fmt: skip
    assert terms.scrubbed(json.dumps(event)) == json.dumps(event)
    said = json.dumps({"label": "Name", "text": "lost: handle"})
    assert terms.times_in(said) == 2
    assert terms.times_in(terms.scrubbed(said)) == 0
