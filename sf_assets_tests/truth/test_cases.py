"""Ten small worlds: what must be told is told, what must never be told is not, after every day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .cases import CASES, Case
from .people import People
from .player import Tables, played, played_over_http
from .worlds import ListDay


class Trial:
    """Collects what is wrong with a case, so that one failure shows all of it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.people = People(case.world)
        self.wrong: list[str] = []

    def after(self, day: int, tables: Tables) -> None:
        case = self.case
        for key, days in case.world.lists.items():
            complete = [d.day for d in days if d.exhaustive and d.day <= day]
            for row in tables.of("churn", key):
                named = self.people.of(key, row["account_id"])
                told = f"day {day}: {row}"
                if not named:
                    self.wrong.append(f"{told}: of nobody")
                if row["change"] == "lost":
                    followed_by = sum(each > row["snapshot_date"] for each in complete)
                    claimed = row["state"] == "confirmed" or (
                        row["state"] == "provisional" and followed_by >= 3
                    )
                    if claimed and named & case.never_lost[key[1]]:
                        self.wrong.append(told)
                elif named & case.never_come[key[1]]:
                    self.wrong.append(told)
        if case.every_day:
            self._check(case.every_day, day, tables)
        if day == case.world.days[-1]:
            self._at_the_end(tables)
            if case.last_day:
                self._check(case.last_day, day, tables)

    def _check(self, check: Callable[[int, Tables], None], day: int, tables: Tables) -> None:
        try:
            check(day, tables)
        except (AssertionError, KeyError, ValueError) as error:
            self.wrong.append(f"day {day}: {type(error).__name__} {error}")

    def _at_the_end(self, tables: Tables) -> None:
        for must in self.case.must:
            key = (self.case.handle, must.relation)
            usable = [each.day for each in self.case.world.lists[key] if each.usable]
            before = max(each for each in usable if each < must.day)
            told = [
                (row["previous_date"], row["snapshot_date"], row["state"])
                for row in tables.of("churn", key)
                if row["change"] == must.change
                and must.person in self.people.of(key, row["account_id"])
            ]
            if told != [(before, must.proved_on or must.day, "confirmed")]:
                self.wrong.append(f"{must}: told {told}")


def wrong_of(trials: list[Trial]) -> str:
    return "\n".join(
        f"\n{trial.case.what_happens}\n{trial.case.world}\n" + "\n".join(trial.wrong[:12])
        for trial in trials
        if trial.wrong
    )


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_what_must_be_told_is_told_and_nothing_else(
    make: Callable[[], Case], tmp_path: Path
) -> None:
    trial = Trial(make())
    for day, tables in played(tmp_path, [trial.case.world]):
        trial.after(day, tables)
    assert not trial.wrong, wrong_of([trial])


def test_the_same_over_http(tmp_path: Path) -> None:
    # The private weeks are six more weeks of days, and private pages are read elsewhere.
    trials = [Trial(make()) for make in CASES if make.__name__ != "private_for_weeks"]
    for day, tables in played_over_http(tmp_path / "home", [t.case.world for t in trials]):
        for trial in trials:
            if day in trial.case.world.days:
                trial.after(day, tables)
    assert not wrong_of(trials), wrong_of(trials)


def test_exhaustive_is_said_in_the_snapshots(tmp_path: Path) -> None:
    worlds = [make().world for make in CASES if make.__name__ != "odd_count"]
    for day, tables in played(tmp_path, worlds):
        for world in worlds:
            for key, days in world.lists.items():
                shown: dict[int, ListDay] = {each.day: each for each in days}
                for row in tables.of("snapshots", key):
                    expected = shown[row["snapshot_date"]].exhaustive
                    assert row["exhaustive"] is expected, (day, key, row)
