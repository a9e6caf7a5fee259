"""`sf-assets import` as a user runs it: the session of its page, folders, the grid, the way out."""

from __future__ import annotations

import gzip
import os
import re
import shlex
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from sf_assets.cli import importing, main
from sf_assets.cli.runner import dagster_instance
from sf_assets.settings import load_settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.verify import verify

from .shell import ROOT, contents, run, use

PAGE = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    use(tmp_path / "home", url="http://127.0.0.1:9", day=date(2026, 11, 22))
    monkeypatch.chdir(tmp_path)
    for day, names in (("01", ("alice", "carol", "bob")), ("02", ("alice", "bob"))):
        (tmp_path / f"fans_2026-10-{day}.csv").write_text("\n".join(("username", *names)))
    return Home(tmp_path / "home")


def test_the_session_of_the_page_prints_what_it_shows(home: Home) -> None:
    (session,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    said = ""
    for line in session.splitlines():
        if line.startswith("$ sf-assets "):
            answer = run(*shlex.split(line)[2:])
            assert answer.code == 0, answer
            said = answer.out
        else:
            assert line in said.splitlines(), said
    assert [one.problems for one in verify(home, full=True) if one.problems] == []


def test_an_import_that_was_killed_before_it_was_derived_is_finished_by_the_same_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("track", "nova")
    fans = ("import", "fans_{date}.csv", "--handle", "nova", "--relation", "followers", "--yes")
    with monkeypatch.context() as killed:
        killed.setattr(importing, "_show_in_grid", lambda *_, **__: None)
        run(*fans)
    assert "nothing new" in run(*fans).out
    with reading(home.readable) as con:
        assert con.execute("SELECT count(*) FROM comparisons").fetchall() == [(2,)]
    found = verify(home, full=True)
    assert [one.problems for one in found if one.problems] == []
    assert not [one.says for one in found if "are not derived yet" in one.says]


def test_a_removal_that_was_killed_before_it_was_derived_is_finished_by_the_same_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    fans = ("import", "fans_{date}.csv", "--handle", "nova", "--relation", "followers", "--yes")
    run(*fans)
    with monkeypatch.context() as killed:
        killed.setattr(importing, "_show_in_grid", lambda *_, **__: None)
        assert run("import", "--remove", "fans", "--yes").out == "fans: 2 snapshots removed\n"
    again = run("import", "--remove", "fans", "--yes")
    assert (again.code, again.out) == (0, "fans: was removed already; the tables are up to date\n")
    with reading(home.readable) as con:
        assert con.execute("FROM imports").fetchall() == []
    assert [one.problems for one in verify(home, full=True) if one.problems] == []
    said = run("import", "--remove", "fans", "--yes")
    assert (said.code, said.complaint) == (
        2,
        "sf-assets: import: no import is called 'fans'; there is none",
    )


def test_the_grid_shows_imported_days_with_their_source(home: Home) -> None:
    run("track", "nova")
    fans = ("import", "fans_{date}.csv", "--handle", "nova", "--relation", "followers", "--yes")
    assert (
        "2 days before 2026-11-22, the first day of Dagster's grid; add --extend-grid"
        in run(*fans).out
    )
    key = dg.AssetKey("follower_snapshots")

    def events() -> list[dg.EventLogRecord]:
        with dagster_instance(home) as instance:
            wanted = dg.AssetRecordsFilter(asset_key=key)
            return list(instance.fetch_materializations(wanted, limit=10).records)

    assert events() == []
    answer = run(*fans, "--extend-grid")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "nothing new: already imported")
    assert home.start_date(load_settings()) == date(2026, 10, 1)
    shown = {}
    for record in events():
        event = record.asset_materialization
        assert event is not None
        shown[str(event.partition)] = event.metadata
    assert set(shown) == {"2026-10-01|nova", "2026-10-02|nova"}
    metadata = shown["2026-10-02|nova"]
    assert metadata["source"].value == "import:fans"
    assert metadata["imported_file"].value == "fans_2026-10-02.csv"
    with dagster_instance(home) as instance:
        churn = instance.get_materialized_partitions(dg.AssetKey("follower_churn"))
    assert {"2026-10-02"} <= churn


def test_where_a_setting_says_where_the_grid_begins_it_stays(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SF_ASSETS_START_DATE", "2026-11-20")
    answer = run(
        *("import", "fans_2026-10-01.csv", "--handle", "nova", "--relation", "followers"),
        *("--day", "2026-10-01", "--yes", "--extend-grid"),
    )
    assert answer.code == 2
    assert "SF_ASSETS_START_DATE sets the first day of the grid" in answer.complaint


def test_a_folder_goes_on_with_the_next_file_and_tells_at_the_end(home: Home) -> None:
    folder = Path("old")
    folder.mkdir()
    for name in ("fans_2026-10-01.csv", "fans_2026-10-02.csv"):
        Path(name).rename(folder / name)
    (folder / "fans_2026-10-03.csv").write_text("<html>")
    (folder / "fans_2026-10-04.csv.gz").write_bytes(gzip.compress(b"username\nbob\n"))
    (folder / "notes.md").write_text("no list")
    answer = run(
        *("import", "old", "--day", "fans_{date}.csv*", "--handle", "nova"),
        *("--relation", "followers", "--yes", "-q"),
    )
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "sf-assets: fans_2026-10-03.csv, line 1: this is a web page (HTML or XML), not a list",
        "sf-assets: 1 of 4 files refused; nothing from them was imported",
    ]
    with reading(home.readable) as con:
        assert con.execute("SELECT name, file FROM imports ORDER BY ALL").fetchall() == [
            ("old", "fans_2026-10-01.csv"),
            ("old", "fans_2026-10-02.csv"),
            ("old", "fans_2026-10-04.csv.gz"),
        ]


def test_nothing_is_written_before_somebody_agrees(home: Home, tmp_path: Path) -> None:
    before = contents(tmp_path)
    fans = ("import", "fans_{date}.csv", "--handle", "nova", "--relation", "followers")
    answer = run(*fans, "--dry-run")
    assert answer.code == 0
    assert "proves: accounts in the list followed; nothing about others" in answer.out
    # What stands against it is told before somebody agrees.
    other = ("import", "fans_2026-10-02.csv", "--handle", "nova", "--relation", "followers")
    run(*other, "--day", "2026-10-01", "--yes")
    refused = run(*fans, "--dry-run")
    assert "nova followers 2026-10-01 already exists from import:fans_2026-10-02" in refused.err
    run("import", "--remove", "fans_2026-10-02", "--yes")
    before = contents(tmp_path)
    asked = CliRunner().invoke(main, list(fans), input="n\n")
    assert asked.exit_code == 1
    assert "Import 2 files as fans?" in asked.output
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("x.csv",), "missing: --handle, --relation"),
        (("x.csv", "--handle", "a b", "--relation", "followers"), "is not a TikTok handle"),
        (("x.csv", "--handle", "a", "--relation", "followers"), "x.csv: no such file"),
        (
            ("fans_2026-10-01.csv", "--handle", "a", "--relation", "followers"),
            ": unknown day; give --day ",
        ),
        (
            (
                *("fans_2026-10-01.csv", "--handle", "a", "--relation", "followers"),
                *("--day", "03/04/2026"),
            ),
            "--day: '03/04/2026' is ambiguous",
        ),
        (
            (
                *("fans_{date}.csv", "--handle", "a", "--relation", "followers"),
                *("--day", "2026-10-01"),
            ),
            "contains the day",
        ),
        (("--remove", "x"), "no import is called 'x'; there is none"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: tuple[str, ...], says: str, home: Home, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    answer = run("import", *arguments, "--yes")
    assert answer.code == 2
    assert says in answer.err
    assert contents(tmp_path) == before
    assert os.environ["SF_ASSETS_HOME"] == str(home.root)
