"""Ten small worlds, each an example of a kind of trouble, with what must and must never be told.

A `Must` names a list, a person, a change and the first day whose list shows it: churn has one row
for it, with the interval as narrow as the lists prove, `confirmed` at the end of the world; no
other row tells this change of this person. `never` names people by list and change: of them no
`lost` is confirmed after any day, none stays provisional when three complete lists have followed,
and no `gained` or `returned` is told at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from sf_assets.model import Relation

from .player import Tables
from .worlds import Entry, ListDay, ListKey, Stint, World, account

Check = Callable[[int, Tables], None]


@dataclass(frozen=True)
class Must:
    relation: Relation
    person: str
    change: str
    day: int
    # The list that proves it, where that is a later one: the change lies in the days up to it.
    proved_on: int | None = None


@dataclass(frozen=True)
class Case:
    what_happens: str
    world: World
    must: tuple[Must, ...] = ()
    never_lost: Mapping[Relation, frozenset[str]] = field(default_factory=dict)
    never_come: Mapping[Relation, frozenset[str]] = field(default_factory=dict)
    every_day: Check | None = None
    last_day: Check | None = None

    @property
    def handle(self) -> str:
        return self.world.handles[0]


def p(*numbers: int) -> frozenset[str]:
    return frozenset(f"p{n}" for n in numbers)


def _days(
    number: int,
    lists: Iterable[Iterable[int]],
    totals: Iterable[int | None],
    entry: Callable[[int, int], Entry] | None = None,
) -> tuple[ListDay, ...]:
    """Day by day the numbers of the people that a list shows, and its total."""
    make = entry or (lambda n, _: account(number, f"p{n}"))
    return tuple(
        ListDay(day, tuple(make(n, day) for n in people), total, counted=p(*people))
        for day, (people, total) in enumerate(zip(lists, totals, strict=True))
    )


def _world(
    handle: str,
    days: tuple[ListDay, ...],
    *,
    come: Mapping[int, int] | None = None,
    left: Mapping[int, int] | None = None,
) -> World:
    """Everybody follows from the first day to the last, but for who comes or leaves on a day."""
    come, left = come or {}, left or {}
    people = {person for day in days for person in day.people}
    stints: dict[str, tuple[Stint, ...]] = {
        person: ((come.get(int(person[1:]), -1), left.get(int(person[1:]))),) for person in people
    }
    key: ListKey = (handle, "followers")
    return World(handle, {key: days}, {key: stints})


def _nobody(world: World, come: Iterable[int] = (), lost: Iterable[int] = ()) -> dict[str, object]:
    """`never` for all but those who really come or leave."""
    people = frozenset(world.people())
    return {
        "never_lost": {"followers": people - p(*lost)},
        "never_come": {"followers": people - p(*come)},
    }


def down(first: int, last: int, *gone: int) -> list[int]:
    return [n for n in range(first, last - 1, -1) if n not in gone]


def _no_loss_in_growth(handle: str) -> Check:
    def check(day: int, tables: Tables) -> None:
        told = {r["snapshot_date"]: r["followers_lost"] for r in tables.of(
            "follower_growth", (handle, "followers"))}  # fmt: skip
        assert {told.get(each) for each in range(1, day + 1)} <= {0}, told

    return check


def cap_with_total() -> Case:
    days = [down(59 + d, max(1, d)) for d in range(8)]
    world = _world(
        "nova", _days(1, days, range(59, 67)), come={60 + n: n + 1 for n in range(7)}
    )  # fmt: skip
    return Case(
        "The list shows the newest 60 at most; one follower comes a day, nobody leaves, and the "
        "total goes on rising past 60.",
        world,
        tuple(Must("followers", f"p{60 + n}", "gained", n + 1) for n in range(7)),
        every_day=_no_loss_in_growth("nova"),
        **_nobody(world, come=range(60, 67)),  # type: ignore[arg-type]
    )


def cap_without_total() -> Case:
    days = [down(52 + 2 * d, 3 + 2 * d) for d in range(8)]
    world = _world("vega", _days(2, days, [None] * 8), come={53 + n: 1 + n // 2 for n in range(14)})
    return Case(
        "The list shows the newest 50 at most; two followers come a day, nobody leaves, and no "
        "total is told.",
        world,
        tuple(Must("followers", f"p{53 + n}", "gained", 1 + n // 2) for n in range(14)),
        every_day=_no_loss_in_growth("vega"),
        **_nobody(world, come=range(53, 67)),  # type: ignore[arg-type]
    )


def back_on_a_shuffled_day() -> Case:
    order = [18, 8, 3, 10, 23, 19, 5, 14, 15, 11, 1, 12, 21, 16, 4, 2, 24, 22, 9, 13, 20, 7, 6, 17]
    whole, short = down(24, 1), down(24, 1, 9)
    world = _world("lyra", _days(3, [whole, short, short, order, *[whole] * 3], [24] * 7))
    return Case(
        "One follower is not shown on days 1 and 2 but counted in the total all the time, and is "
        "back on day 3, whose list is in no order; from day 4 on the list has its old order.",
        world,
        **_nobody(world),  # type: ignore[arg-type]
    )


def handle_taken_over() -> Case:
    def entry(n: int, day: int) -> Entry:
        shown = account(4, f"p{n}")
        if day >= 3 and n in (15, 5):
            shown = replace(shown, handle="w4.p5" if n == 15 else "w4.new")
            if day == 3:
                shown = replace(shown, user_id=None, sec_uid=None)
        return shown

    world = _world("rigel", _days(4, [down(20, 1)] * 6, [20] * 6, entry))
    return Case(
        "On day 3 one follower takes a new handle and another takes the handle that became free; "
        "on that day alone both are shown without ids.",
        world,
        **_nobody(world),  # type: ignore[arg-type]
    )


def placeholder_id() -> Case:
    def entry(n: int, day: int) -> Entry:
        weak = n in (11, 4) and day in (2, 3)
        return account(5, f"p{n}", **({"user_id": "0", "sec_uid": None} if weak else {}))

    world = _world("atria", _days(5, [down(16, 1)] * 6, [16] * 6, entry))
    return Case(
        'On days 2 and 3 two followers are shown with the platformUserId "0" and no secUid; '
        "nobody comes or leaves.",
        world,
        **_nobody(world),  # type: ignore[arg-type]
    )


def neighbours_on_two_days() -> Case:
    one, four = down(24, 1, 12), down(24, 1, 11, 12, 13, 14)
    later, last = four[:-1], four[:-3]
    world = _world(
        "mira",
        _days(
            6, [down(24, 1), one, four, four, four, later, last, last, last],
            [24, 23, 20, 20, 20, 19, 17, 17, 17],
        ),
        left={12: 1, 11: 2, 13: 2, 14: 2, 1: 5, 2: 6, 3: 6},
    )  # fmt: skip
    left = {12: 1, 11: 2, 13: 2, 14: 2, 1: 5, 2: 6, 3: 6}
    return Case(
        "One follower leaves on day 1 and three neighbours on day 2; later the three oldest leave, "
        "at the very end of the list. The totals are exact.",
        world,
        tuple(Must("followers", f"p{n}", "lost", day) for n, day in left.items()),
        **_nobody(world, lost=left),  # type: ignore[arg-type]
    )


def total_a_day_late() -> Case:
    left = dict.fromkeys(range(10, 16), 1)
    after = down(36, 1, *left)
    totals = [36, 36, *[30] * 5]
    world = _world("cetus", _days(7, [down(36, 1), *[after] * 6], totals), left=left)
    return Case(
        "Six neighbours leave on day 1; the total falls a day later.",
        world,
        tuple(Must("followers", f"p{n}", "lost", 1, proved_on=2) for n in left),
        **_nobody(world, lost=left),  # type: ignore[arg-type]
    )


def odd_count() -> Case:
    def entry(n: int, day: int) -> Entry:
        odd = n == 9 and day
        return account(8, f"p{n}", followers="9.5K" if odd else 100 + n)

    world = _world("pavo", _days(8, [down(22, 1)] * 4, [22] * 4, entry))

    def listed(day: int, tables: Tables) -> None:
        told = {r["snapshot_date"]: r["listed"] for r in tables.of(
            "snapshots", ("pavo", "followers"))}  # fmt: skip
        assert told == dict.fromkeys(range(day + 1), 22), told

    def profile(_: int, tables: Tables) -> None:
        shown = {row["account_handle"]: row for row in tables["accounts"]}
        odd = shown["w8.p9"]
        assert odd["followers"] is None, odd
        assert (odd["following"], odd["display_name"]) == (2, "Name of w8.p9")
        assert (odd["platform_user_id"], odd["sec_uid"]) == (
            account(8, "p9").user_id, account(8, "p9").sec_uid,
        )  # fmt: skip
        assert shown["w8.p8"]["followers"] == 108

    return Case(
        'The follower count of one follower reads "9.5K" from day 1 on.',
        world,
        every_day=listed,
        last_day=profile,
        **_nobody(world),  # type: ignore[arg-type]
    )


def private_for_weeks() -> Case:
    days = [
        *_days(9, [down(12, 1), *[down(13, 1)] * 6], [12, *[13] * 6]),
        *(ListDay(day, status="private") for day in (7, 16, 25, 34)),
        *(replace(each, day=35 + each.day) for each in _days(9, [down(12, 1)] * 4, [12] * 4)),
    ]
    world = _world("corvus", tuple(days), come={13: 1}, left={13: 20})

    def retention(day: int, tables: Tables) -> None:
        rows = [r for r in tables.of("weekly_retention", ("corvus", "followers")) if r["week"] == 0]
        for row in rows:
            # Four weeks after the gain the list is still private, whenever it is asked.
            if day < 35 or row["weeks_after"] <= 4:
                assert row["lost"] == 0, row
                assert row["retention"] in (None, 1.0), row

    return Case(
        "A follower comes on day 1, the profile is private for four weeks, and that follower is "
        "missing when it opens again; nobody can know since when.",
        world,
        (Must("followers", "p13", "gained", 1), Must("followers", "p13", "lost", 35)),
        every_day=retention,
        **_nobody(world, come=[13], lost=[13]),  # type: ignore[arg-type]
    )


def mutuals() -> Case:
    whole, without = down(14, 1), down(14, 1, 6)
    followers: ListKey = ("hydra", "followers")
    following: ListKey = ("hydra", "following")
    everybody = p(*whole)
    world = World(
        "hydra",
        {
            followers: _days(10, [whole, whole, *[without] * 5], [14, 14, *[13] * 5]),
            following: _days(
                10,
                [whole, whole, whole, without, *[[6, *without]] * 3],
                [14, 14, 14, 13, 14, 14, 14],
                lambda n, _: account(10, f"p{n}", user_id=None),
            ),
        },
        {
            followers: {q: ((-1, 2 if q == "p6" else None),) for q in everybody},
            following: {q: ((-1, 3), (4, None)) if q == "p6" else ((-1, None),) for q in everybody},
        },
    )

    def views(_: int, tables: Tables) -> None:
        both = {row["account_handle"] for row in tables["mutuals"] if row["handle"] == "hydra"}
        assert both == {f"w10.p{n}" for n in without}, both
        handles = [row["account_handle"] for row in tables["accounts"]]
        handles = sorted(handle for handle in handles if handle.startswith("w10."))
        assert handles == sorted(f"w10.p{n}" for n in whole), handles
        (lost,) = (row for row in tables["lost_mutuals"] if row["handle"] == "hydra")
        assert (lost["account_handle"], lost["still_followed"]) == ("w10.p6", True), lost

    return Case(
        "The handle and its followers follow each other; the following list shows the secUid only. "
        "One follower leaves on day 2; the handle unfollows that account on day 3 and follows it "
        "again on day 4, to stay.",
        world,
        (
            Must("followers", "p6", "lost", 2),
            Must("following", "p6", "lost", 3),
            Must("following", "p6", "returned", 4),
        ),
        never_lost={"followers": everybody - p(6), "following": everybody - p(6)},
        never_come={"followers": everybody, "following": everybody - p(6)},
        last_day=views,
    )


CASES: tuple[Callable[[], Case], ...] = (
    cap_with_total, cap_without_total, back_on_a_shuffled_day, handle_taken_over, placeholder_id,
    neighbours_on_two_days, total_a_day_late, odd_count, private_for_weeks, mutuals,
)  # fmt: skip
