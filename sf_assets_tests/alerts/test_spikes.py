"""What counts as a spike: against the handle's own 28 days, per day, and only what is claimed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sf_assets.alerts.kinds import AlertContext, ChurnSpike
from sf_assets.alerts.kinds.churn import SPIKE_ACCOUNTS
from sf_assets.storage.home import Home
from sf_assets_tests.lists import Listed, Lists, Told, on


class Flow:
    """A list from which so many leave, and to which so many come, on each day it is told.

    Its days are loaded and derived together, when somebody looks.
    """

    def __init__(self, lists: Lists) -> None:
        self.lists = lists
        self.listed = list(range(1_500, 0, -1))
        self.next = 1_501
        self.told: list[Told] = []

    def day(self, day: int, *, lost: int = 0, gained: int = 0) -> None:
        if lost:
            # Spread over the list: neighbours that vanish together are a hole in it.
            every = len(self.listed) // (lost + 1)
            gone = set(self.listed[every::every][:lost])
            self.listed = [one for one in self.listed if one not in gone]
        self.listed = [*range(self.next + gained - 1, self.next - 1, -1), *self.listed]
        self.next += gained
        self.show(day, self.listed)

    def show(self, day: int, listed: Sequence[Listed] = (), **more: Any) -> None:
        self.today = day
        self.told.append(Told(day, "nova", tuple(listed), **more))

    def look(self) -> None:
        if self.told:
            self.lists.tell(*self.told)
        self.told = []

    def settle(self) -> None:
        """Two more days, which confirm what was claimed."""
        for day in (self.today + 1, self.today + 2):
            self.day(day)

    def spikes(self, since: int = 1) -> list[tuple[int, str, int]]:
        """(day, change, accounts)."""
        self.settle()
        self.look()
        first = on(since)
        look = AlertContext(self.lists.con, Home(Path()), on(self.today), first, first)
        return [
            ((one.day - on(1)).days + 1, one.change, one.accounts) for one in ChurnSpike.find(look)
        ]


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    lists = Lists(tmp_path)
    yield Flow(lists)
    lists.close()


def test_a_day_far_above_all_days_before_is_a_spike_in_its_direction(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 10):
        flow.day(day, lost=5, gained=7)
    flow.day(10, lost=40, gained=7)
    flow.day(11, lost=5, gained=60)
    flow.day(12, lost=5, gained=7)
    assert flow.spikes() == [(10, "lost", 40), (11, "gained", 60)]
    assert flow.spikes(since=11) == [(11, "gained", 60)]


def test_a_loss_that_may_still_be_retracted_is_no_spike(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 10):
        flow.day(day, lost=5)
    before = flow.listed
    flow.day(10, lost=40)
    flow.listed = before
    assert flow.spikes() == []


def test_a_week_of_losses_that_a_whole_reading_shows_at_once_is_no_spike(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 10):
        flow.day(day, lost=5, gained=7)
    # Read from the top for a week, while people leave below.
    for day in range(10, 16):
        flow.next, top = flow.next + 7, list(range(flow.next + 6, flow.next - 1, -1))
        flow.listed = [*top, *flow.listed]
        flow.show(day, flow.listed[:60], total=len(flow.listed), end="known")
    flow.day(16, lost=40, gained=7)
    flow.settle()
    flow.look()
    assert (
        flow.lists.one("SELECT followers_lost FROM follower_growth WHERE snapshot_date = ?", on(16))
        == 40
    )
    assert flow.spikes() == []


def test_few_accounts_are_no_spike_however_calm_the_days_before(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 10):
        flow.day(day)
    flow.day(10, lost=SPIKE_ACCOUNTS - 1)
    flow.day(11, lost=SPIKE_ACCOUNTS)
    assert flow.spikes() == [(11, "lost", SPIKE_ACCOUNTS)]


def test_what_is_usual_for_the_handle_is_no_spike(flow: Flow) -> None:
    flow.day(1)
    for day, lost in enumerate((30, 40, 25, 30, 45, 30, 35, 40), start=2):
        flow.day(day, lost=lost)
    flow.day(10, lost=90)  # more than ever, yet not three times the usual
    assert flow.spikes() == []


def test_a_second_day_as_large_as_the_first_is_told_once(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 10):
        flow.day(day, lost=4)
    flow.day(10, lost=60)
    flow.day(11, lost=55)
    flow.day(12, lost=60)
    assert flow.spikes() == [(10, "lost", 60)]


def test_a_week_is_needed_to_know_what_is_usual(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 8):
        flow.day(day, lost=2)
    flow.day(8, lost=50)  # six days before it
    assert flow.spikes() == []


def test_the_churn_of_a_gap_is_spread_over_its_days(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 10):
        flow.day(day, lost=6)
    flow.day(16, lost=42)  # seven days of six
    assert flow.spikes() == []
    flow.day(17, lost=43)
    assert flow.spikes() == [(17, "lost", 43)]


def test_a_day_on_which_nothing_can_be_claimed_is_not_a_calm_one(flow: Flow) -> None:
    flow.day(1)
    for day in range(2, 10):
        flow.day(day, lost=30)
    for day in range(10, 31):
        flow.show(day, status="private")
    flow.day(31, lost=30)
    for day in range(32, 36):
        flow.day(day, lost=30)
    flow.day(36, lost=31)  # above all days before: with the closed ones as calm it were a spike
    assert flow.spikes() == []
