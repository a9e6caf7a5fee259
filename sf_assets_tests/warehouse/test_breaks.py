"""A tracked handle that became somebody else's: nothing is claimed across the break."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sf_assets.alerts import find_all, title
from sf_assets.cli import main as cli
from sf_assets.defs.checks import CheckContext, same_owner
from sf_assets.handles.parse import parse_registry, read_registry
from sf_assets.model import RELATIONS
from sf_assets.report import gather, render
from sf_assets.settings import load_settings
from sf_assets.storage.home import HOME_FORMAT, Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.warehouse.alignment import is_break
from sf_assets.warehouse.connection import reading, writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.handles import record_handles
from sf_assets.warehouse.load import load
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rebuild import rebuild
from sf_assets.warehouse.verify import verify
from sf_assets_tests.lists import Lists, Told, on, who
from sf_assets_tests.tables import published_tables

OLD = tuple(range(140, 40, -1))  # a hundred accounts
NEW = tuple(range(1400, 1300, -1))
NEXT = (1401, *NEW[:50], *NEW[51:])  # one came, one left


@pytest.fixture
def lists(tmp_path: Path) -> Any:
    made = Lists(tmp_path)
    yield made
    made.close()


def told(day: int, accounts: Any, **more: Any) -> Told:
    return Told(day, "nova", tuple(accounts), **more)


def decide(lists: Lists, text: str) -> None:
    record_handles(lists.con, parse_registry(text), date(2026, 11, 30))


@pytest.mark.parametrize("together", [False, True], ids=["a day at a time", "all at once"])
@pytest.mark.parametrize("common", [0, 4])
def test_nothing_is_claimed_of_the_people_of_whoever_had_the_handle_before(
    lists: Lists, common: int, together: bool
) -> None:
    shared = OLD[10 : 10 + common]
    days = [
        told(1, (*OLD, 1)),
        told(2, OLD),  # one left: provisional when the handle changes hands
        told(3, (*NEW, *shared)),
        told(4, (*NEXT, *shared)),
        told(5, (*NEXT, *shared)),
        told(6, (*NEXT, *shared)),
    ]
    if together:
        lists.tell(*days)
    else:
        for day in days:
            lists.tell(day)
    assert lists.churn("nova") == {
        (4, 1401, "gained", "confirmed"),
        (4, NEW[50], "lost", "confirmed"),
    }
    assert lists.memberships("nova", OLD[0]) == [(1, 2, "baseline", "beyond")]
    assert lists.memberships("nova", 1) == [(1, 1, "baseline", "beyond")]
    assert lists.memberships("nova", NEW[0]) == [(3, None, "baseline", None)]
    for account in shared:
        assert lists.memberships("nova", account) == [
            (1, 2, "baseline", "beyond"),
            (3, None, "baseline", None),
        ]
    assert lists.one(
        "SELECT losses, gains, previous_date, common FROM comparisons WHERE snapshot_date = ?",
        on(3),
    ) == ("break", "break", on(2), 0)
    # No figure reaches across it.
    assert (
        lists.rows(
            "SELECT followers_net, followers_gained, followers_lost, followers_unknown, "
            "growth_rate, avg_daily_net_7d FROM follower_growth "
            "WHERE snapshot_date IN (?, ?) ORDER BY ALL",
            on(1),
            on(3),
        )
        == [(None,) * 6] * 2
    )
    assert lists.one("SELECT count(*) FROM events") == 0
    made = lists.tables()
    lists.con.execute("UPDATE internal.warehouse_format SET rules = 0")
    lists.derive()
    assert lists.tables() == made


def test_whoever_says_that_it_is_the_same_person_gets_the_comparison(lists: Lists) -> None:
    lists.tell(told(1, OLD), told(2, NEW), told(3, NEW), told(4, NEW), told(5, NEW))
    before = lists.tables()
    assert lists.churn("nova") == set()
    decide(lists, "handles: {nova: {breaks: {2026-11-02: continue}}}")
    lists.derive()
    # Both lists show everyone, and have nobody in common: the rules claim nothing of that day.
    assert lists.one("SELECT reason FROM comparisons WHERE snapshot_date = ?", on(2)) == (
        "Continued, as set in handles.yaml. The lists have no account in common."
    )
    assert {change for _, _, change, _ in lists.churn("nova")} == {"lost"}
    decide(lists, "handles: {nova: {breaks: {2026-11-02: new}}}")
    lists.derive()
    assert lists.tables() == before


@pytest.mark.parametrize(
    ("what", "first", "second"),
    [
        ("few turn over", OLD[:19], NEW[:19]),
        ("a purge of all but few", OLD, OLD[:20]),
        ("a wave above them", OLD[:30], (*NEW, *OLD[:30])),
        ("one in ten stayed", OLD, (*NEW[:90], *OLD[:10])),
        ("shown without ids", OLD, [who(n, user_id=None, sec_uid=None) for n in OLD]),
        ("all renamed", OLD, [who(n, f"other{n}") for n in OLD]),
    ],
)
def test_the_lists_of_one_person_are_no_break(
    lists: Lists, what: str, first: Any, second: Any
) -> None:
    lists.tell(told(1, first), told(2, second))
    assert lists.one("SELECT losses FROM comparisons WHERE snapshot_date = ?", on(2)) != "break"


def derived(home: Home, *days: Told) -> None:
    landed = [one.land(DiskLanding(home.landing)) for one in days]
    load(lambda: writing(home.warehouse), home.archive, landed)
    with writing(home.warehouse) as con:
        record_handles(con, read_registry(home.registry), on(30))
        derive(con, home.archive)
    publish(home)


def test_it_is_said_once_and_the_operator_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o700)
    home.marker.write_text(json.dumps({"format": HOME_FORMAT, "start_date": str(on(1))}))
    home.registry.write_text("handles:\n  nova:  # the bakery\n")
    derived(home, told(1, OLD), told(1, OLD, relation="following"))
    monkeypatch.setenv("SF_ASSETS_HOME", str(home.root))
    monkeypatch.setenv("SOCIALFETCH_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SF_ASSETS_TODAY", str(on(1)))
    assert find_all(home, load_settings()) == []
    derived(home, told(2, NEW), told(2, NEW, relation="following"))
    derived(home, told(3, NEW), told(3, NEW, relation="following"))
    monkeypatch.setenv("SF_ASSETS_TODAY", str(on(3)))

    def seen() -> tuple[list[tuple[str, str]], bool, bool]:
        settings = load_settings()
        found = [(one.kind, title(one)) for one in find_all(home, settings, remember=False)]
        with reading(home.readable) as con:
            verdict = same_owner("followers", CheckContext(home, settings, con))
            page = render(gather(con))
        return found, verdict.passed, "maybe another person" in page

    alert = ("break", "@nova: may belong to another person now")
    assert seen() == ([alert], False, True)
    for asked, how, reason in (
        ("--new-series", "new", "The handle may belong to another person now"),
        ("--continue", "continue", "Continued, as set in handles.yaml."),
    ):
        said = CliRunner().invoke(cli, ["track", "@nova", asked])
        assert said.exit_code == 0, said.output
        text = home.registry.read_text()
        assert f"2026-11-02: {how}" in text
        assert "# the bakery" in text
        derived(home)
        assert seen()[:2] == ([], True)
        with reading(home.readable) as con:
            found = con.execute("SELECT reason FROM comparisons WHERE snapshot_date = ?", [on(2)])
            assert all(one.startswith(reason) for (one,) in found.fetchall())
    refused = CliRunner().invoke(cli, ["track", "@other", "--continue"])
    assert (refused.exit_code, "none of its lists has a break" in refused.output) == (2, True)
    assert [one for one in verify(home, full=True) if one.problems] == []
    before = published_tables(home.published)
    rebuild(home)
    assert published_tables(home.published) == before


@pytest.mark.parametrize("asked", ["--new-series", "--continue"])
def test_one_decision_is_for_both_lists_where_one_was_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o700)
    home.marker.write_text(json.dumps({"format": HOME_FORMAT, "start_date": str(on(1))}))
    home.registry.write_text("handles:\n  nova:\n")
    monkeypatch.setenv("SF_ASSETS_HOME", str(home.root))
    monkeypatch.setenv("SOCIALFETCH_BASE_URL", "http://127.0.0.1:1")
    derived(home, told(1, OLD), told(1, OLD, relation="following"))
    derived(home, told(2, NEW), told(3, NEW, relation="following"))
    monkeypatch.setenv("SF_ASSETS_TODAY", str(on(3)))

    def passed() -> list[bool]:
        with reading(home.readable) as con:
            look = CheckContext(home, load_settings(), con)
            return [same_owner(one, look).passed for one in RELATIONS]

    assert passed() == [False, False]
    said = CliRunner().invoke(cli, ["track", "@nova", asked])
    assert "2026-11-02 and 2026-11-03, effective with the next snapshot" in said.output
    derived(home)
    assert passed() == [True, True]
    assert find_all(home, load_settings(), remember=False) == []


@pytest.mark.parametrize(
    ("total_before", "total", "expected"),
    [
        (10_000, 10_050, False),  # the vendor shows others, of the same list
        (10_000, 17_000, False),  # thousands came in a day
        (10_000, 2_000_000, True),
        (2_000_000, 10_000, True),
        (None, 10_000, False),
    ],
)
def test_of_windows_the_totals_tell(
    total_before: int | None, total: int | None, expected: bool
) -> None:
    assert expected == is_break(
        listed=5_000,
        listed_before=5_000,
        common=0,
        complete=False,
        total=total,
        total_before=total_before,
    )
