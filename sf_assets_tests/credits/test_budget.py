"""Who gets how much of what is left: first pages first, and never more than there is."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_assets.credits.budget import Budget
from sf_assets.credits.meter import DayMeter
from sf_assets.credits.shares import Need, shares
from sf_assets.model import Relation, SnapshotKey
from sf_assets.storage.landing import Landing
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets_tests.ingest.test_reading import (
    DAY,
    end_of,
    fans,
    key_of,
    landing,
    read,
    server,
    to_read,
)
from sf_assets_tests.served_lists import ListServer

__all__ = ["landing", "server"]  # fixtures


def need(handle: str, credits: int | None, relation: Relation = "followers", **more: Any) -> Need:
    return Need(SnapshotKey(DAY, handle, relation), credits, **more)


def given_to(needs: list[Need], limit: int | None) -> dict[str, int | None]:
    return {key.handle: credits for key, credits in shares(needs, limit).items()}


def test_everybody_gets_first_pages_before_anybody_gets_last_ones() -> None:
    needs = [need("long", 100), need("longer", 200), need("short", 2)]
    assert given_to(needs, 3) == {"long": 1, "longer": 1, "short": 1}
    assert given_to(needs, 20) == {"long": 9, "longer": 9, "short": 2}


def test_where_a_round_is_not_enough_for_all_priority_decides_then_who_waited_longest() -> None:
    needs = [
        need("waited", 5, last_read=DAY - timedelta(days=3)),
        need("fresh", 5, last_read=DAY - timedelta(days=1)),
        need("urgent", 5, priority=1, last_read=DAY - timedelta(days=1)),
        need("never", None),
    ]
    assert given_to(needs, 1) == {"urgent": 1, "never": 0, "waited": 0, "fresh": 0}
    assert given_to(needs, 3) == {"urgent": 1, "never": 1, "waited": 1, "fresh": 0}


def test_what_nobody_needs_goes_round_as_well_because_lists_grow() -> None:
    assert given_to([need("a", 3), need("b", 5)], 12) == {"a": 5, "b": 7}


def test_a_handle_s_cap_holds_for_both_its_lists_together() -> None:
    both = [need("a", 50, cap=7), need("a", 50, "following", cap=7), need("b", 10)]
    assert sorted(shares(both, 100).values(), key=str) == [3, 4, 93]
    free = shares(both, None)
    assert free[SnapshotKey(DAY, "b", "followers")] is None
    assert sum(credits or 0 for key, credits in free.items() if key.handle == "a") == 7


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 300), st.none() | st.integers(0, 40)), max_size=9
    ),
    st.integers(0, 2000),
)
def test_never_more_than_there_is_and_nothing_kept_back(
    lists: list[tuple[int | None, int | None]], limit: int
) -> None:
    needs = [need(f"h{n}", credits, cap=cap) for n, (credits, cap) in enumerate(lists)]
    made = given_to(needs, limit)
    total = sum(credits or 0 for credits in made.values())
    assert total <= limit
    for one in needs:
        assert one.cap is None or (made[one.key.handle] or 0) <= one.cap
    capped = all(one.cap is not None and made[one.key.handle] == one.cap for one in needs)
    assert total == limit or capped or not needs
    # Nobody is two pages ahead of somebody who still needs some and may have them.
    hungry = [
        made[one.key.handle] or 0
        for one in needs
        if (one.credits is None or (made[one.key.handle] or 0) < one.credits)
        and (one.cap is None or (made[one.key.handle] or 0) < one.cap)
    ]
    if hungry:
        assert max(credits or 0 for credits in made.values()) <= min(hungry) + 1


def test_runs_of_one_day_share_one_count(tmp_path: Path) -> None:
    path = DiskLanding(tmp_path).meter(DAY)
    first, second = DayMeter(path, lambda: 5), DayMeter(path, lambda: 99)
    assert second.count == 5
    assert [first.take(7), second.take(7), first.take(7)] == [True, True, False]
    second.add(-1)
    assert first.count == 6
    assert DiskLanding(tmp_path).days() == []


def test_two_runs_beside_each_other_never_overrun_the_cap(
    server: ListServer, landing: Landing
) -> None:
    for n in range(4):
        server.set(f"h{n}", "followers", fans(200))
    budgets = [
        Budget(7, meter=DayMeter(landing.meter(DAY), lambda: 0)),
        Budget(7, meter=DayMeter(landing.meter(DAY), lambda: 0)),
    ]
    for budget, lists in zip(budgets, (["h0", "h1"], ["h2", "h3"]), strict=True):
        read([to_read(handle) for handle in lists], server, landing, budget=budget)
    assert server.credits == 7


def test_short_lists_are_read_whole_and_long_ones_get_what_those_leave(
    server: ListServer, landing: Landing
) -> None:
    sizes = {"long": 200, "longer": 300, "short": 40}
    for handle, size in sizes.items():
        server.set(handle, "followers", fans(size))
    budget = Budget(12, allowances={key_of(handle): 4 for handle in sizes})
    ended = read([to_read(handle) for handle in sizes], server, landing, budget=budget)
    assert server.credits == 12 == sum(one.bought for one in ended.values())
    assert {key.handle: one.bought for key, one in ended.items()} == {
        "long": 5,
        "longer": 5,
        "short": 2,
    }
    assert end_of(landing, key_of("short")) == ("found", "exhausted")
    assert end_of(landing, key_of("longer")) == ("found", "budget")
    assert len(server.requests) == 12  # nothing was bought twice on the way


def test_the_balance_orders_the_buying_and_the_vendor_has_the_last_word(
    server: ListServer, landing: Landing
) -> None:
    for handle in ("a", "b"):
        server.set(handle, "followers", fans(200))
    server.credits_left = 6
    budget = Budget(None, allowances={key_of("a"): 2, key_of("b"): 2}, until_refused=True)
    ended = read([to_read("a"), to_read("b")], server, landing, budget=budget, concurrency=1)
    assert server.credits == 6
    assert {end_of(landing, key) for key in ended} == {("found", "out_of_credits")}
    assert all(one.stopped == "credits" for one in ended.values())


@pytest.mark.parametrize("cap", [0, 3])
def test_a_handle_s_cap_is_kept_also_when_others_leave_something(
    server: ListServer, landing: Landing, cap: int
) -> None:
    server.set("capped", "followers", fans(200))
    server.set("short", "followers", fans(20))
    budget = Budget(
        20, allowances={key_of("capped"): cap, key_of("short"): 9}, caps={"capped": cap}
    )
    ended = read([to_read("capped"), to_read("short")], server, landing, budget=budget)
    assert ended[key_of("capped")].bought == cap
    assert ended[key_of("capped")].finished == (cap > 0)
    assert server.credits == cap + 1


def test_old_counts_go_with_their_days(landing: Landing) -> None:
    from sf_assets.storage.landing import drop_days_before

    for day in (date(2026, 3, 3), DAY):
        DayMeter(landing.meter(day), lambda: 1)
        DayMeter(landing.meter(day, "nasa"), lambda: 1)
    drop_days_before(landing, DAY, set())
    kept = {landing.meter(DAY), landing.meter(DAY, "nasa")}
    assert set(landing.root.glob(".spent-*")) == kept
