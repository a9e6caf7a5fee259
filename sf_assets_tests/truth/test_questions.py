"""The named questions, answered from a month's lists, against the simulator's own record."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from sf_assets.cli.examples import example, examples
from sf_assets.handles.parse import parse_registry
from sf_assets.model import RELATIONS, Relation
from sf_assets.simulator import ListSpec, ProfileSpec, Purge, Status, World
from sf_assets.warehouse.handles import record_handles

from ..lists import Lists, Told, on

DAYS = 16
LAST = on(DAYS)
FULL = [on(day) for day in range(1, DAYS + 1)]
MOVING = {"gain": 0.03, "loss": 0.02, "refollow": 0.3, "rename": 0.01}
WORLD = World(
    [
        ProfileSpec("open", ListSpec(size=120, **MOVING), ListSpec(size=50, **MOVING)),
        ProfileSpec("twin", ListSpec(size=90, **MOVING), ListSpec(size=40, **MOVING)),
        ProfileSpec("purged", ListSpec(size=150, gain=0.01, purges=(Purge(on(9), 0.2),))),
        ProfileSpec("capped", ListSpec(size=300, gain=0.01, loss=0.005, cap=60)),
        ProfileSpec("closed", ListSpec(size=60, **MOVING), statuses=(Status("private", on(14)),)),
    ],
    epoch=on(-200),
    seed=11,
    horizon_days=260,
)
TAGS = {"open": ["a"], "twin": ["a", "b"], "purged": ["b"], "capped": ["b"], "closed": ["a"]}
SHOWN = ("open", "twin", "purged")  # complete on every day


@dataclass(frozen=True)
class Shown:
    """An account of the simulator as its lists show it on a day."""

    number: int
    day: date

    def item(self, relation: Relation) -> dict[str, Any]:
        return WORLD.item(self.number, relation, self.day)


def listed(handle: str, relation: Relation, day: date) -> list[int]:
    return [int(n) for n in WORLD.truth(handle, relation, day).listed]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lists]:
    lists = Lists(tmp_path_factory.mktemp("questions"))
    told = []
    for day, when in enumerate(FULL, start=1):
        for handle in WORLD.handles:
            for relation in RELATIONS:
                truth = WORLD.truth(handle, relation, when)
                told.append(
                    Told(
                        *(day, handle, tuple(Shown(int(n), when) for n in truth.listed)),  # type: ignore[arg-type]
                        *(truth.lookup_status, truth.total),
                        relation=relation,
                    )
                )
    lists.tell(*told)
    text = "".join(f"  {name}: {{tags: [{', '.join(tags)}]}}\n" for name, tags in TAGS.items())
    record_handles(lists.con, parse_registry(f"handles:\n{text}"), LAST)
    yield lists
    lists.close()


def ask(asked: Lists, name: str, *handles: str, days: int | None = None) -> list[dict[str, Any]]:
    cursor = asked.con.execute(example(name).sql(handles or None, None, days))
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def came(handle: str, relation: Relation, before: date, after: date) -> set[int]:
    found = WORLD.changes(handle, relation, before, after)
    return {*found.gained, *found.returned, *found.moved}


def left(handle: str, relation: Relation, before: date, after: date) -> set[int]:
    found = WORLD.changes(handle, relation, before, after)
    return {*found.lost, *found.moved}


def name_of(number: int, day: date) -> str:
    return WORLD.handle_of(number, day)


def found_days(handle: str) -> list[date]:
    return [day for day in FULL if WORLD.truth(handle, "followers", day).lookup_status == "found"]


def test_each_question_is_tested_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {one.name for one in examples()} <= tested


def test_growth(asked: Lists) -> None:
    rows = {row["handle"]: row for row in ask(asked, "growth")}
    assert set(rows) == set(WORLD.handles)
    for handle, row in rows.items():
        days = found_days(handle)
        inside = [day for day in days if day > on(DAYS - 7)]
        before = [day for day in days if day not in inside][-1]
        totals = [WORLD.truth(handle, "followers", day).total for day in (before, inside[-1])]
        assert (row["followers"], row["net"]) == (totals[1], totals[1] - totals[0])
        steps = [*pairwise([before, *inside])]
        gained = sum(len(came(handle, "followers", *step)) for step in steps)
        lost = sum(len(left(handle, "followers", *step)) for step in steps)
        assert row["gained"] == gained
        assert row["lost"] <= lost
        settled = sum(len(left(handle, "followers", *step)) for step in steps if step[1] <= on(13))
        assert handle not in SHOWN or row["lost"] >= settled


def test_who_left(asked: Lists) -> None:
    rows = ask(asked, "who_left", days=10)
    said = {(row["handle"], row["snapshot_date"], row["account_handle"]) for row in rows}
    true, sure = set(), set()
    for handle in WORLD.handles:
        for before, after in pairwise(found_days(handle)):
            if after > on(DAYS - 10):
                gone = {
                    (handle, after, name_of(n, before))
                    for n in left(handle, "followers", before, after)
                }
                true |= gone
                sure |= gone if handle in SHOWN else set()
    assert sure <= said <= true
    assert len(sure) > 30
    yesterday = {row["account_handle"] for row in ask(asked, "who_left", "open", days=1)}
    assert yesterday == {name_of(n, on(DAYS - 1)) for n in left("open", "followers", on(15), LAST)}
    states = {(row["snapshot_date"] == LAST, row["state"]) for row in rows}
    assert (True, "confirmed") not in states
    assert (False, "confirmed") in states


def test_who_came(asked: Lists) -> None:
    rows = ask(asked, "who_came")
    assert {(row["handle"], row["account_handle"]) for row in rows} == {
        (handle, name_of(n, LAST))
        for handle in (*SHOWN, "capped")
        for n in came(handle, "followers", on(15), LAST)
    }
    sizes = [row["followers"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)


def test_not_open(asked: Lists) -> None:
    assert ask(asked, "not_open") == [
        {"handle": "closed", "relation": relation, "lookup_status": "private", "since": on(14)}
        for relation in RELATIONS
    ]


def test_completeness(asked: Lists) -> None:
    rows = {(r["handle"], r["relation"], r["completeness"]): r for r in ask(asked, "completeness")}
    assert rows["open", "followers", "complete"]["days"] == DAYS
    assert rows["capped", "followers", "window"]["days"] == DAYS
    assert rows["capped", "followers", "window"]["listed"] == 60
    assert rows["closed", "followers", "none"]["days"] == 3
    truth = WORLD.truth("open", "followers", LAST)
    assert rows["open", "followers", "complete"]["total"] == truth.total == len(truth.listed)


def test_notable(asked: Lists) -> None:
    rows = ask(asked, "notable")
    for row in rows:
        assert row["verified"] or row["followers"] >= 10_000
    # The simulator shows other counts of an account among followers than among the followed.
    seen = defaultdict(set)
    for handle in WORLD.handles:
        for relation in RELATIONS:
            for day in FULL:
                for n in listed(handle, relation, day):
                    seen[n].add(relation)
    in_both = {name_of(n, day) for n, where in seen.items() if len(where) > 1 for day in FULL}
    true = set()
    for handle in ("open", "twin"):
        for relation in RELATIONS:
            for before, after in pairwise(FULL):
                for changed, named_on in ((came, after), (left, before)):
                    for n in changed(handle, relation, before, after):
                        last = max(day for day in FULL if n in listed(handle, relation, day))
                        item = WORLD.item(n, relation, last)
                        large = item["verified"] or item["metrics"]["followers"] >= 10_000
                        if large and len(seen[n]) == 1:
                            true.add((handle, relation, after, name_of(n, named_on)))
    assert true == {
        (row["handle"], row["relation"], row["snapshot_date"], row["account_handle"])
        for row in ask(asked, "notable", "open", "twin")
        if row["account_handle"] not in in_both
    }
    assert len(true) > 10


def test_lost_mutuals(asked: Lists) -> None:
    true = {
        (handle, after, name_of(n, before))
        for handle in SHOWN
        for before, after in pairwise(FULL)
        for n in left(handle, "followers", before, after)
        if n in listed(handle, "following", before)
    }
    rows = ask(asked, "lost_mutuals")
    assert {(r["handle"], r["snapshot_date"], r["account_handle"]) for r in rows} == true


def test_not_following_back(asked: Lists) -> None:
    rows = ask(asked, "not_following_back")
    said: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        said[row["handle"]].add(row["account_handle"])
    for handle in SHOWN:
        ever = {n for day in FULL for n in listed(handle, "followers", day)}
        followed, now = listed(handle, "following", LAST), listed(handle, "followers", LAST)
        assert {name_of(n, LAST) for n in followed if n not in ever} <= said[handle]
        assert said[handle] <= {name_of(n, LAST) for n in followed if n not in now}
    assert said.keys() <= {*SHOWN, "closed"}  # of the capped list nobody can know
    assert sum(map(len, said.values())) > 30


def test_follow_back(asked: Lists) -> None:
    for row in ask(asked, "follow_back"):
        handle, own = row["handle"], row["relation"]
        other: Relation = "followers" if own == "following" else "following"
        day = found_days(handle)[-1]
        mine, theirs = set(listed(handle, own, day)), set(listed(handle, other, day))
        assert (row["listed"], row["mutual"]) == (len(mine), len(mine & theirs))
        assert row["percent_shown"] == round(
            100 * len(mine) / WORLD.truth(handle, own, day).total, 1
        )
        if (handle, own) == ("capped", "following"):
            assert row["percent"] is None
        if row["percent"] is not None:
            assert row["percent"] == round(100 * len(mine & theirs) / len(mine), 1)
        assert (
            row["at_least"] <= 100 * len(mine & theirs) / len(mine) + 0.05 <= row["at_most"] + 0.1
        )


def test_renamed(asked: Lists) -> None:
    true = set()
    for handle in ("open", "twin"):
        for relation in RELATIONS:
            for before, after in pairwise(FULL):
                for n in {*listed(handle, relation, before)} & {*listed(handle, relation, after)}:
                    if name_of(n, before) != name_of(n, after):
                        true.add((after, name_of(n, before), name_of(n, after), handle, relation))
    rows = ask(asked, "renamed", "open", "twin")
    said = {
        (r["seen_on"], r["from_handle"], r["to_handle"], r["handle"], r["relation"]) for r in rows
    }
    assert true <= said
    assert true
    # Who came back under another handle is renamed, too.
    for day, old, new, *_ in said - true:
        assert any(
            name_of(n, day) == new and any(name_of(n, d) == old for d in FULL)
            for handle in ("open", "twin")
            for relation in RELATIONS
            for n in listed(handle, relation, day)
        )


def test_audience(asked: Lists) -> None:
    rows = ask(asked, "audience", "open", days=5)
    steps = [(before, after) for before, after in pairwise(FULL) if after > on(DAYS - 5)]
    shown = {
        "listed": [(n, LAST) for n in listed("open", "followers", LAST)],
        "came": [(n, b) for a, b in steps for n in came("open", "followers", a, b)],
    }
    for segment, accounts in shown.items():
        items = [WORLD.item(n, "followers", day) for n, day in accounts]
        private = {
            row["value"]: row["accounts"]
            for row in rows
            if (row["segment"], row["trait"]) == (segment, "private")
        }
        for value, is_private in (("yes", True), ("no", False)):
            assert private[value] == sum(item["privateAccount"] is is_private for item in items)
    gone = [n for a, b in steps for n in left("open", "followers", a, b)]
    sizes = Counter[tuple[str, str]]()
    for row in rows:
        sizes[row["segment"], row["trait"]] += row["accounts"]
    assert {segment for segment, _ in sizes} == {"listed", "came", "left"}
    for (segment, _), size in sizes.items():
        if segment == "left":
            assert size <= len(gone)
        else:
            assert size == len(shown[segment])
    # Of all of the segment, also where a value is not there on each day.
    assert [row["percent"] for row in rows] == [
        pytest.approx(100 * row["accounts"] / sizes[row["segment"], row["trait"]], abs=0.06)
        for row in rows
    ]


def test_overlap(asked: Lists) -> None:
    lists = {handle: set(listed(handle, "followers", found_days(handle)[-1])) for handle in TAGS}
    true = {
        (one, other, len(lists[one] & lists[other]))
        for one in lists
        for other in lists
        if one < other and lists[one] & lists[other]
    }
    rows = ask(asked, "overlap")
    assert {(row["handle"], row["other_handle"], row["shared"]) for row in rows} == true


def test_groups(asked: Lists) -> None:
    rows = {(row["tag"], row["snapshot_date"]): row for row in ask(asked, "groups", days=DAYS)}
    for tag in ("a", "b"):
        group = [handle for handle, tags in TAGS.items() if tag in tags]
        for before, after in pairwise(FULL):
            there = [handle for handle in group if after in found_days(handle)]
            row = rows[tag, after]
            assert (row["handles"], row["handles_with_total"]) == (len(group), len(there))
            totals = {h: WORLD.truth(h, "followers", after).total for h in there}
            assert row["followers_total"] == sum(totals.values())
            assert row["followers_gained"] == sum(
                len(came(handle, "followers", before, after)) for handle in there
            )


def test_reach(asked: Lists) -> None:
    for row in ask(asked, "reach"):
        group = [handle for handle, tags in TAGS.items() if row["tag"] in tags]
        newest = {handle: found_days(handle)[-1] for handle in group}
        times = Counter(n for h, day in newest.items() for n in listed(h, "followers", day))
        total = sum(WORLD.truth(h, "followers", day).total for h, day in newest.items())
        shared = sum(count > 1 for count in times.values())
        assert (row["handles"], row["handles_listed"]) == (len(group), len(group))
        assert (row["accounts"], row["shared_accounts"]) == (len(times), shared)
        assert row["percent_shown"] == round(100 * times.total() / total, 1)


def test_retention(asked: Lists) -> None:
    rows = ask(asked, "retention", *SHOWN)
    for row in rows:
        newcomers = [
            (n, after)
            for before, after in pairwise(FULL)
            for n in came(row["handle"], "followers", before, after)
            if 0 <= (after - row["week"]).days < 7
        ]
        assert row["gained"] == len(newcomers)
        until = 7 * row["weeks_after"]
        stayed = sum(
            all(
                n in listed(row["handle"], "followers", day)
                and (
                    day == since
                    or n not in came(row["handle"], "followers", on((day - on(1)).days), day)
                )
                for day in FULL
                if 0 <= (day - since).days <= until
            )
            for n, since in newcomers
        )
        assert row["still_listed"] == stayed
    assert rows


def test_tenure(asked: Lists) -> None:
    rows = {row["handle"]: row for row in ask(asked, "tenure")}
    for handle in SHOWN:
        stays = []
        for before, after in pairwise(FULL):
            for n in left(handle, "followers", before, after):
                begun = [
                    b
                    for a, b in pairwise(FULL)
                    if b <= before and n in came(handle, "followers", a, b)
                ]
                stays.append(
                    (after, (before - (begun[-1] if begun else FULL[0])).days + 1, not begun)
                )
        old = [stay for stay in stays if stay[0] <= on(13)]
        assert len(old) <= rows[handle]["lost"] <= len(stays)
        if rows[handle]["lost"] == len(old):
            assert rows[handle]["median_days"] == median(stay[1] for stay in old)
            assert rows[handle]["there_before_us"] == sum(stay[2] for stay in old)


def test_cost(asked: Lists) -> None:
    for row in ask(asked, "cost"):
        pages = [
            max(1, math.ceil(len(listed(row["handle"], row["relation"], day)) / 20)) for day in FULL
        ]
        assert (row["pages"], row["credits"]) == (sum(pages), sum(pages))
        assert row["credits_a_day"] == pytest.approx(sum(pages) / DAYS, abs=0.06)
