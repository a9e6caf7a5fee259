"""The API changes: exactly one alert says so. It does not: none, for a year."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sf_assets.alerts.words import title
from sf_assets.simulator import ListSpec, ProfileSpec, Status
from sf_assets.storage.home import Home
from sf_assets.warehouse.schema import prepare
from sf_assets_tests.answers import Api, Days, profiles

FIRST = date(2026, 1, 1)


@pytest.fixture
def days(tmp_path: Path) -> Iterator[Days]:
    con = duckdb.connect(":memory:")
    con.execute("SET threads = 1")
    prepare(con, Path("memory"))
    yield Days(con, Home(tmp_path))
    con.close()


def people(handles: int, **more: Any) -> list[ProfileSpec]:
    """Handles of the usual kind: they grow, lose, rename, miss ids; one is private for a while."""
    followers = ListSpec(
        size=70, gain=0.012, loss=0.008, refollow=0.2, rename=0.002, no_user_id=0.05,
        no_sec_uid=0.05, id_gap=0.02, flicker=0.005,
    )  # fmt: skip
    following = ListSpec(size=25, gain=0.004, loss=0.004, id_gap=0.02)
    made = [
        ProfileSpec(f"sim.drift.{n}", replace(followers, size=30 + 12 * n, **more), following)
        for n in range(handles)
    ]
    away = Status("private", FIRST + timedelta(days=20), FIRST + timedelta(days=23))
    made[0] = replace(made[0], statuses=(away,))
    return made


@pytest.mark.parametrize(("handles", "length"), [(3, 120), (1, 365)])
def test_a_calm_year_raises_no_alert(days: Days, handles: int, length: int) -> None:
    world = profiles(people(handles), FIRST, length)
    # Now and then an answer fails, or comes from the vendor's cache.
    calm = Api(troubles=lambda n: ("503",) if n % 20 == 0 else (), cached=lambda n: n % 50 == 0)
    for number in range(length):
        days.play(FIRST + timedelta(days=number), world, calm)
    assert days.found(FIRST, FIRST + timedelta(days=length)) == []


def _without_ids(data: dict[str, Any]) -> None:
    for one in data.get("followers", data.get("accounts", ())):
        if zlib.crc32(one["handle"].encode()) % 5 < 3:
            one.pop("platformUserId", None)
            one.pop("secUid", None)


_CARDS = random.Random(4)


def _shuffled(data: dict[str, Any]) -> None:
    _CARDS.shuffle(data.get("followers", data.get("accounts", [])))


def _with_mood(data: dict[str, Any]) -> None:
    data["mood"] = "fine"


def _without_bios(data: dict[str, Any]) -> None:
    for one in data.get("followers", data.get("accounts", ())):
        one.pop("bio", None)
        one.pop("verified", None)


DRIFTS: dict[str, tuple[Api, str]] = {
    "page_size": (Api(page_size=30), "accounts on a page: 30 instead of 20"),
    "without_number": (Api(change=_without_ids), "share of accounts without a user id"),
    "order_agreement": (Api(change=_shuffled), "share of accounts that kept their order"),
    "new_fields": (Api(change=_with_mood), "new fields on a page: 1.0 instead of 0.0"),
    "fields": (Api(change=_without_bios), "fields of an account"),
    "cached": (Api(cached=lambda n: n % 2 == 0), "share of pages from the API's cache"),
    "retries": (Api(troubles=lambda n: ("502", "502")), "failed requests per page: 2.00"),
    "seconds": (Api(seconds=20), "seconds per page: 20.0 instead of 0.5"),
    "total_change": (Api(total_factor=10), "change of the totals per day"),
}


@pytest.mark.parametrize("measure", DRIFTS)
def test_a_drifted_world_raises_exactly_one_alert(days: Days, measure: str) -> None:
    drifted, said = DRIFTS[measure]
    world = profiles(people(3), FIRST, 50)
    for number in range(26):
        days.play(FIRST + timedelta(days=number), world, drifted if number >= 14 else Api())
    since = FIRST + timedelta(days=14)
    (alert,) = days.found(FIRST, FIRST + timedelta(days=40))
    assert alert.day in (since, since + timedelta(days=1))
    assert measure in alert.measures
    assert said in alert.words.summary
    assert title(alert) == "The API's responses have changed"
    # Told on its first day, it is not told again for what the days after add to it.
    assert alert.undelivered_part({alert.id}) is None


@pytest.mark.parametrize(
    ("change", "measure"),
    [(_shuffled, "order_agreement"), (_without_ids, "without_number"), (_with_mood, None)],
)
def test_what_the_rules_need_and_never_was_so_is_said_in_the_first_days(
    days: Days, change: Callable[[Any], None], measure: str | None
) -> None:
    world = profiles(people(3), FIRST, 40)
    for number in range(20):
        days.play(FIRST + timedelta(days=number), world, Api(change=change))
    found = days.found(FIRST, FIRST + timedelta(days=40))
    assert [list(one.measures) for one in found] == ([[measure]] if measure else [])
