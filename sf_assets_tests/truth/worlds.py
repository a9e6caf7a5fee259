"""A world: the lists that tracked handles show on a number of days, and what is true of them.

Day 0 is a Monday. An account is shown as an `Entry`; its `person` is never sent. A `ListDay` is one
list of one day as the API shows it. `World.stints` has, by list and person, the days from which
and until which that person really follows (until is the first day without the follow, or None).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from sf_assets.model import Relation

FIRST_MONDAY = date(2026, 11, 2)

ListKey = tuple[str, Relation]
Stint = tuple[int, int | None]


def date_of(day: int) -> date:
    return FIRST_MONDAY + timedelta(days=day)


def day_of(day: date) -> int:
    return (day - FIRST_MONDAY).days


@dataclass(frozen=True)
class Entry:
    """One account of one list on one day; an id that is None is left out."""

    person: str
    handle: str
    user_id: Any = None
    sec_uid: str | None = None
    followers: Any = 1

    def item(self, relation: Relation) -> dict[str, Any]:
        """The account as the API sends it."""
        item: dict[str, Any] = {
            "handle": self.handle,
            "displayName": f"Name of {self.handle}",
            "avatarUrl": None,
            "bio": "",
            "verified": False,
            "metrics": {"followers": self.followers, "following": 2},
        }
        if self.user_id is not None:
            item["platformUserId"] = self.user_id
        if self.sec_uid is not None:
            item["secUid"] = self.sec_uid
        if relation == "followers":
            return item | {"privateAccount": False}
        item["metrics"]["posts"] = 3
        return item | {"profileUrl": f"https://www.tiktok.com/@{self.handle}"}

    @property
    def number(self) -> str | None:
        """The id that identifies: a positive whole number, as text."""
        text = str(self.user_id)
        return str(int(text)) if text.isascii() and text.isdigit() and int(text) > 0 else None

    @property
    def sec(self) -> str | None:
        return self.sec_uid if self.sec_uid and self.sec_uid.strip() else None

    def __str__(self) -> str:
        ids = "" if self.user_id is not None else "-number"
        if self.user_id is not None and (self.number is None or self.user_id != number_of(self)):
            ids = f"id={self.user_id!r}"
        ids += "" if self.sec_uid else "-sec"
        name = "" if self.handle.endswith(f".{self.person}") else f"@{self.handle}"
        return f"{self.person}{name}" + (f"({ids})" if ids else "")


def number_of(entry: Entry) -> str | None:
    """Only for show: the number that `account` gives this person."""
    digits = "".join(c for c in entry.person if c.isdigit())
    text = str(entry.user_id)
    return text if digits and text.endswith(digits) else None


def account(world: int, person: str, **over: Any) -> Entry:
    """`person` with all ids; `world` keeps the people of two worlds apart."""
    n = int("".join(c for c in person if c.isdigit()))
    entry = Entry(
        person,
        f"w{world}.{person}",
        str(7_000_000_000_000_000_000 + world * 1_000_000 + n),
        f"MS4wLjABAAAA{world:04d}x{n:08d}",
    )
    return replace(entry, **over)


@dataclass(frozen=True)
class ListDay:
    """One list on one day. `counted` are the people that its total counts, `missing` those who
    follow and are not shown for a day or two, `quirks` what else is odd about it, `depth` how it is
    read, `first` what an earlier reading of the same day showed."""

    day: int
    entries: tuple[Entry, ...] = ()
    total: int | None = None
    status: str = "found"
    end: str = "exhausted"
    depth: str = "full"
    counted: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    quirks: frozenset[str] = frozenset()
    first: ListDay | None = None

    @property
    def people(self) -> list[str]:
        return list(dict.fromkeys(entry.person for entry in self.entries))

    @property
    def usable(self) -> bool:
        return self.status == "found" and (bool(self.entries) or self.total == 0)

    @property
    def exhaustive(self) -> bool:
        """By what is shown, as the rules define it; of a reading to the end."""
        if self.status != "found" or self.end != "exhausted" or self.total is None:
            return False
        listed = len(self.people)
        return listed - max(2, 0.005 * listed) <= self.total <= listed


@dataclass(frozen=True)
class World:
    name: str
    lists: Mapping[ListKey, tuple[ListDay, ...]]
    stints: Mapping[ListKey, Mapping[str, tuple[Stint, ...]]] = field(default_factory=dict)

    @property
    def handles(self) -> list[str]:
        return sorted({handle for handle, _ in self.lists})

    @property
    def days(self) -> list[int]:
        return sorted({each.day for days in self.lists.values() for each in days})

    def follows(self, key: ListKey, person: str, day: int) -> bool:
        return any(
            start <= day and (end is None or day < end)
            for start, end in self.stints[key].get(person, ())
        )

    def left(self, key: ListKey, person: str, after: int, until: int) -> bool:
        """Whether the person left after the list of one day and before that of another."""
        return any(
            end is not None and after < end <= until for _, end in self.stints[key].get(person, ())
        )

    def came(self, key: ListKey, person: str, after: int, until: int) -> bool:
        return any(after < start <= until for start, _ in self.stints[key].get(person, ()))

    def without_lists(self, keys: Iterable[ListKey]) -> World:
        gone = set(keys)
        return replace(self, lists={k: v for k, v in self.lists.items() if k not in gone})

    def without_days(self, days: Iterable[int]) -> World:
        gone = set(days)
        kept = {k: tuple(d for d in v if d.day not in gone) for k, v in self.lists.items()}
        return replace(self, lists={k: v for k, v in kept.items() if v})

    def without_people(self, people: Iterable[str]) -> World:
        gone = frozenset(people)

        def thinned(day: ListDay) -> ListDay:
            return replace(
                day,
                entries=tuple(e for e in day.entries if e.person not in gone),
                total=None if day.total is None else day.total - len(day.counted & gone),
                counted=day.counted - gone,
                missing=day.missing - gone,
                first=day.first and thinned(day.first),
            )

        lists = {key: tuple(thinned(day) for day in days) for key, days in self.lists.items()}
        return replace(self, lists=lists)

    @property
    def fair(self) -> bool:
        """Whether somebody could tell all of this from its opposite, as far as anybody knows.

        Who follows is missing from two lists in a row at most and then shown in two that are read
        whole, and does not leave and come again before a list in order shows it; a false total is
        far from what is listed; where totals are late, no day is left out.
        """
        return all(_fair(days, self.stints[key]) for key, days in self.lists.items())

    def people(self) -> list[str]:
        """Everybody who is shown, or stood in a list unseen."""
        shown = {e.person for days in self.lists.values() for d in days for e in d.entries}
        return sorted(shown | {p for days in self.lists.values() for d in days for p in d.counted})

    def __str__(self) -> str:
        lines = [f"world {self.name}"]
        for key, days in self.lists.items():
            lines.append(f"  {key[1]} of {key[0]}, newest first")
            before: list[str] = []
            for day in days:
                names = day.people
                lines.append(
                    f"    day {day.day:>2} {day.status} total {day.total} listed {len(names)}"
                    + (f" {day.end}" if day.end != "exhausted" else "")
                    + (f" {day.depth}" if day.depth != "full" else "")
                    + (f" [{', '.join(sorted(day.quirks))}]" if day.quirks else "")
                )
                if day.first:
                    lines.append(
                        f"           first read as {' '.join(map(str, day.first.entries))}"
                    )
                if names != before or any("(" in str(e) or "@" in str(e) for e in day.entries):
                    lines.append(f"           {' '.join(map(str, day.entries))}")
                for change, some in (("gone", set(before) - set(names)),
                                     ("new", set(names) - set(before))):  # fmt: skip
                    if some and before and names:
                        lines.append(
                            f"           {change}: " + ", ".join(
                                f"{p} ({'follows' if self.follows(key, p, day.day) else 'left'})"
                                for p in sorted(some)
                            )
                        )  # fmt: skip
                before = names or before
        return "\n".join(lines)


def _fair(days: tuple[ListDay, ...], stints: Mapping[str, tuple[Stint, ...]]) -> bool:
    absent: dict[str, int] = {}
    rested: dict[str, int] = {}
    unsure: dict[str, int] = {}
    for day in days:
        listed = len(day.people)
        if "wrong total" in day.quirks and day.total is not None:
            far = listed - day.total if day.total <= listed else day.total - listed - 20
            if far <= 4:
                return False
        if not day.usable:
            continue
        for person in day.missing:
            absent[person] = absent.get(person, 0) + 1
            rested[person] = 0
            unsure[person] = day.day
            if absent[person] > 2:
                return False
        for person in day.people if "shuffled" not in day.quirks else ():
            since = unsure.pop(person, day.day)
            if any(since < start <= day.day for start, _ in stints.get(person, ())):
                return False
            rested[person] = rested.get(person, 0) + (day.depth == "full")
            if rested[person] >= 2:
                absent.pop(person, None)
    late = any("late total" in day.quirks for day in days)
    return not late or days[-1].day - days[0].day + 1 == len(days)
