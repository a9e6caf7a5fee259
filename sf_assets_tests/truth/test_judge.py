"""The judge itself: it is content with the truth, and it names what is false."""

from __future__ import annotations

from typing import Any

import pytest

from .judge import judge
from .people import People
from .player import TABLES, Row, Tables
from .worlds import Entry, ListDay, ListKey, World, account

KEY: ListKey = ("nova", "followers")
PEOPLE = ("p6", "p5", "p4", "p3", "p2", "p1")


def world(*, gone: str | None = None, days: int = 6) -> World:
    """Six follow; one of them is gone from day 1 on, having left or not."""

    def entries(day: int) -> tuple[Entry, ...]:
        return tuple(account(1, p) for p in PEOPLE if p != gone or day == 0)

    lists = tuple(ListDay(d, entries(d), len(entries(d))) for d in range(days))
    stints = {p: ((-1, 1 if p == gone else None),) for p in PEOPLE}
    return World("1", {KEY: lists}, {KEY: stints})


def tables(*churn: Row, **more: list[Row]) -> Tables:
    members = [
        {"relation": "followers", "handle": "nova", "account_id": row["account_id"],
         "first_seen": 0, "last_seen": row["previous_date"], "start_kind": "baseline",
         "end_kind": "lost", "first_missed": row["snapshot_date"]}
        for row in churn if row["change"] == "lost" and row["state"] != "retracted"
    ]  # fmt: skip
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    return Tables(rows | {"follower_churn": list(churn), "memberships": members} | more)


def claim(person: str, change: str = "lost", **over: Any) -> Row:
    row = {"handle": "nova", "snapshot_date": 1, "previous_date": 0, "state": "confirmed",
           "account_id": account(1, person).user_id, "change": change}  # fmt: skip
    return row | over


def told(of: World, what: Tables, day: int = 5) -> set[str]:
    return {each.split(":")[0] for each in judge(of, People(of), what, day)}


def test_the_truth_is_not_complained_of() -> None:
    assert told(world(), tables()) == set()
    assert told(world(gone="p3"), tables(claim("p3"))) == set()


@pytest.mark.parametrize(
    ("of", "what", "complaint"),
    [
        (world(), tables(claim("p3")), "a confirmed loss of somebody who did not leave"),
        (world(gone="p3"), tables(), "kept back"),
        (world(gone="p3"), tables(claim("p3", snapshot_date=2, previous_date=1)),
         "a confirmed loss of somebody who did not leave"),
        (world(gone="p3"), tables(claim("p3", state="provisional")),
         "provisional after three later lists"),
        (world(), tables(claim("p3", "gained")), "gained, but did not come"),
        (world(), tables(claim("p3", "returned")), "returned, but did not come"),
        (world(gone="p3"), tables(claim("p3", account_id="id:0")), "a claim about nobody"),
        (world(gone="p3"), tables(claim("p3"), memberships=[]), "a claim without its membership"),
        (world(), tables(memberships=[
            {"handle": "nova", "account_id": account(1, p).user_id if n else account(1, p).sec_uid
             and f"sec:{account(1, p).sec_uid}", "first_seen": 0, "last_seen": None,
             "start_kind": "baseline", "end_kind": None}
            for p in ("p1",) for n in (0, 1)
        ]), "one account, several ids"),
        (world(), tables(memberships=[
            {"handle": "nova", "account_id": account(1, "p1").user_id, "first_seen": 4,
             "last_seen": 2, "start_kind": "revealed", "end_kind": "beyond"}
        ]), "last seen before first seen"),
        (world(), tables(follower_growth=[
            {"handle": "nova", "snapshot_date": 1, "followers_lost": 1, "followers_total": 6}
        ]), "counts more losses than are confirmed"),
        (world(), tables(weekly_retention=[
            {"handle": "nova", "week": 0, "lost": 1, "retention": 0.5, "still_listed": 1}
        ]), "counts losses that did not happen"),
    ],
)  # fmt: skip
def test_what_is_false_is_named(of: World, what: Tables, complaint: str) -> None:
    assert complaint in told(of, what)
