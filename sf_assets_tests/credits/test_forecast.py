"""What lists will cost, from what they have cost."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sf_assets.credits.estimate import Cost
from sf_assets.credits.forecast import first_page_forecast, forecast
from sf_assets.handles.parse import parse_registry

# A Sunday: the forecast begins on a Monday.
LAST = date(2026, 11, 22)
FIRST = LAST + timedelta(days=1)


def cost(handle: str, relation: Any = "followers", **known: Any) -> Cost:
    told: dict[str, Any] = {
        "last_date": LAST, "whole_date": LAST, "status": "found", "whole": 50, "top": 3,
        "most": 50, "total": 1_000, "page_size": 20.0, "gained_a_day": 10.0,
    }  # fmt: skip
    return Cost(relation, handle, **{**told, **known})


def made(text: str, *costs: Cost, days: int = 28, **more: Any) -> Any:
    return forecast(
        parse_registry(text),
        {(one.relation, one.handle): one for one in costs},
        {},
        first=FIRST,
        days=days,
        **more,
    )


def test_a_list_costs_its_pages_on_each_day_it_is_due() -> None:
    found = made(
        "handles: {a: {relations: [followers]}, b: {relations: [followers], weekdays: [mon, thu]}, "
        "c: {relations: [followers], depth: {pages: 4}}}",
        *(cost(handle) for handle in "abc"),
    )
    assert [one.credits for one in found.lists] == [28 * 50, 8 * 50, 28 * 4]
    assert found.credits == sum(one.credits for one in found.lists)
    assert found.by_day[:3] == [104, 54, 54]


def test_a_recent_list_costs_its_top_and_all_of_it_once_a_week() -> None:
    found = made(
        "handles: {a: {relations: [followers], depth: recent}, b: {relations: [followers]}}",
        cost("a"),
        cost("b"),
    )
    recent, full = found.lists
    assert recent.credits == full.if_recent == 4 * 50 + 24 * 3
    assert full.recent_saves == 28 * 50 - recent.credits
    assert (recent.if_full, recent.recent_saves) == (28 * 50, 0)
    # The full readings fall a week after the last one.
    assert [day for day, credits in enumerate(found.by_day) if credits > 53] == [6, 13, 20, 27]


def test_what_was_never_read_so_is_told_from_gains_and_totals() -> None:
    assert cost("a", top=None).recent == 1 + 2  # ten new ones, and two pages that are known
    assert cost("a", whole=None, most=5).full == 50  # by its total
    assert cost("a", whole=None, most=5, total=9_000_000).full == 500  # no list shows more
    assert cost("a", whole=None, most=5, total=9_000_000, page_size=30.0).full == 334
    assert made("handles: {a: {relations: [followers]}}", cost("a", status="private")).credits == 28


def test_a_list_never_read_is_counted_and_not_guessed() -> None:
    found = made("handles: {a: {relations: [followers]}, new: }", cost("a"))
    assert (found.unread, found.credits) == (2, 28 * 50)
    assert {one.credits for one in found.lists if one.handle == "new"} == {None}


def test_the_balance_runs_out_on_the_first_day_it_does_not_cover() -> None:
    text = "handles: {a: {relations: [followers]}}"
    assert made(text, cost("a"), balance=150).runs_out_on == FIRST + timedelta(days=3)
    assert made(text, cost("a"), balance=28 * 50).runs_out_on is None
    assert made(text, cost("a"), balance=28 * 50).lasts_days == 28
    assert made(text, cost("a")).runs_out_on is None


def test_caps_hold_for_a_day_and_for_a_handle() -> None:
    text = "handles: {a: {daily_credits: 60}, b: {relations: [followers]}}"
    costs = (cost("a"), cost("a", "following"), cost("b"))
    assert made(text, *costs).by_day[0] == 60 + 50
    assert made(text, *costs, cap=70).credits == 28 * 70


def test_a_first_page_tells_the_price_of_the_rest() -> None:
    found = first_page_forecast("x", 7, total=1_010, listed=20, more=True)
    assert (found.pages, found.credits, found.if_recent) == (51, 357, 51 + 6 * 2)
    short = first_page_forecast("x", 7, total=12, listed=12, more=False)
    assert (short.pages, short.credits, short.if_recent) == (1, 7, 7)
