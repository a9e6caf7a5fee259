"""What is wrong with the product's tables, by what is true of a world.

Knows nothing of how claims are made. `judge` looks at one day's tables and returns a sentence for
each thing that is false, contradicts itself, or is kept back though the lists prove it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise

from .people import People
from .player import Row, Tables
from .worlds import ListDay, ListKey, World

LATER_LISTS = 3


def judge(world: World, people: People, tables: Tables, day: int) -> list[str]:
    return list(_Judge(world, people, tables, day).complaints())


class _Judge:
    def __init__(self, world: World, people: People, tables: Tables, day: int) -> None:
        self.world, self.people, self.tables, self.day = world, people, tables, day

    def complaints(self) -> Iterator[str]:
        for key in self.world.lists:
            self.key = key
            self.days = [each for each in self.world.lists[key] if each.day <= self.day]
            self.usable = [each for each in self.days if each.usable]
            self.churn = self.tables.of("churn", key)
            for row in self.churn:
                yield from (f"{what}: {row}" for what in self._wrong_with(row))
            yield from self._memberships()
            yield from self._snapshots()
            yield from self._kept_back()
            if key[1] == "followers":
                yield from self._growth()
                yield from self._retention()
        yield from self._mutuals()
        yield from self._accounts()

    # --- one row of churn ---

    def _wrong_with(self, row: Row) -> Iterator[str]:
        key, world = self.key, self.world
        named = self.people.of(key, row["account_id"])
        before, after = row["previous_date"], row["snapshot_date"]
        if not named:
            yield "a claim about nobody"
        elif not before < after <= self.day:
            yield "days that contradict each other"
        elif row["change"] == "lost":
            if row["state"] == "confirmed" and not any(self._left(p, before, after) for p in named):
                yield "a confirmed loss of somebody who did not leave"
            if row["state"] == "provisional" and any(
                len(self._able_to_show(p, before, after)) >= LATER_LISTS for p in named
            ):
                yield "provisional after three later lists"
        elif row["state"] != "retracted":
            if not any(world.came(key, p, before, after) for p in named):
                yield f"{row['change']}, but did not come"
            # A handle may have been another's, who was here.
            elif not row["account_id"].startswith("@") and row["change"] == "returned":
                yield from self._never_here(named, before, after)

    def _left(self, person: str, before: int, after: int) -> bool:
        world, key = self.world, self.key
        shown = next(each for each in self.days if each.day == before).entries
        if any(not (entry.number or entry.sec) for entry in shown):
            # An account without ids may have been taken for it, in its place and with its handle.
            seen = [e.day for e in self.usable if e.day <= before and person in e.people]
            before = max(seen, default=before)
        if not world.follows(key, person, before):
            return False
        if world.left(key, person, before, after):
            return True
        # Missing that day, and gone before it was shown again: nobody can tell the day.
        shown = [
            each.day
            for each in self.usable
            if each.day > after and person in each.people and each.depth == "full"
        ]
        until = min([self.day, *shown])
        here = any(each.day == after and person in each.people for each in self.usable)
        return not here and world.left(key, person, after, until)

    def _never_here(self, named: set[str], before: int, after: int) -> Iterator[str]:
        for person in named:
            for start, _ in self.world.stints[self.key].get(person, ()):
                earlier = (each for each in self.usable if each.day < start)
                if before < start <= after and any(person in each.people for each in earlier):
                    return
        yield "returned, but was never here before"

    # --- what the lists prove ---

    def _at(self, day: int) -> int | None:
        return next((at for at, each in enumerate(self.usable) if each.day == day), None)

    def _in_order(self, one: ListDay, other: ListDay) -> bool:
        """Whether the second list, newest first, goes on with the order of the first."""
        at = {person: n for n, person in enumerate(one.people)}
        common = [at[person] for person in other.people if person in at]
        return len(common) > 1 and longest_rising(common) >= 0.9 * len(common)

    def _able_to_show(self, person: str, before: int, after: int) -> list[int]:
        """Later lists that lack the person and would have shown it: by everything that is true."""
        first = self._at(before)
        if first is None:
            return []
        return [
            each.day
            for at, each in enumerate(self.usable)
            if each.day > after
            and person not in each.people
            and self._would_show(person, self.usable[first], at)
        ]

    def _would_show(self, person: str, seen: ListDay, at: int) -> bool:
        current, previous = self.usable[at], self.usable[at - 1]
        if not (_clean(seen) and _clean(current) and _clean(previous)):
            return False
        if not self._in_order(previous, current) or not self._in_order(seen, current):
            return False
        # A list in another order than the one before it may be shuffled that day: not followed.
        if at > 1 and not self._in_order(self.usable[at - 2], previous):
            return False
        if current.exhaustive and not current.quirks & {"missing", "wrong total"}:
            return True
        return self._by_order(person, seen, at)

    def _by_order(self, person: str, seen: ListDay, at: int) -> bool:
        """Somebody who stood below is still there, and no four neighbours are gone together.

        Who is back only since the list before is no neighbour yet: the chain is of two lists.
        """
        current = self.usable[at]
        names, here = seen.people, set(current.people) & set(self.usable[at - 1].people)
        if person not in names:
            return False
        place = names.index(person)
        unmoved = [
            p in here and not self.world.came(self.key, p, seen.day, current.day) for p in names
        ]
        if not any(unmoved[place + 1 :]):
            return False
        top, bottom = place, place
        while top and not unmoved[top - 1]:
            top -= 1
        while bottom + 1 < len(names) and not unmoved[bottom + 1]:
            bottom += 1
        return bottom - top + 1 < 4

    def _back_in_its_place(self, person: str, seen: ListDay) -> bool:
        """Whether the next list that shows a person again puts it where it stood."""
        above = set(seen.people[: seen.people.index(person)])
        for each in self.usable:
            if each.day > seen.day and person in each.people:
                return not above & set(each.people[each.people.index(person) :])
        return False

    def _kept_back(self) -> Iterator[str]:
        """Losses and gains that the lists prove, and that are not told."""
        world, key = self.world, self.key
        if any(each.depth == "recent" for each in self.days):
            return
        told = {
            (row["change"], row["previous_date"], row["snapshot_date"], person)
            for row in self.churn
            if row["state"] == "confirmed"
            for person in self.people.of(key, row["account_id"])
        }
        for at in range(1, len(self.usable)):
            previous, current = self.usable[at - 1], self.usable[at]
            if not (_clean(previous) and _clean(current)):
                continue
            if at > 1 and not self._in_order(self.usable[at - 2], previous):
                continue
            here, later = set(current.people), self.usable[at + 1 : at + 1 + LATER_LISTS]
            for person in previous.people:
                if person in here or world.follows(key, person, current.day):
                    continue
                if len(later) < LATER_LISTS or any(person in each.people for each in later):
                    continue
                if self._back_in_its_place(person, previous):
                    continue
                lists = range(at, at + 1 + LATER_LISTS)
                whole = all(
                    self.usable[n].exhaustive
                    and _clean(self.usable[n])
                    and _have_to_do(self.usable[n - 1], self.usable[n])
                    for n in lists
                )
                ordered = all(
                    self._would_show(person, previous, n) and self._by_order(person, previous, n)
                    for n in lists
                )
                claim = ("lost", previous.day, current.day, person)
                if (whole or ordered) and claim not in told:
                    yield f"kept back: {claim}, and its day {self.day} has three later lists"
            # After a list in another order, who is back then has no place yet.
            if not all(
                self._in_order(self.usable[n - 1], self.usable[n])
                for n in range(max(1, at - 2), at + 1)
            ):
                continue
            earlier = {p for each in self.usable[:at] for p in each.people}
            for person in current.people:
                if person in previous.people:
                    break  # the front
                claim = ("gained", previous.day, current.day, person)
                if person not in earlier and claim not in told:
                    yield f"kept back: {claim}"

    # --- other tables ---

    def _memberships(self) -> Iterator[str]:
        rows = self.tables.of("memberships", self.key)
        ends = {}
        for row in rows:
            first, last, missed = row["first_seen"], row["last_seen"], row.get("first_missed")
            if last is not None and not first <= last:
                yield f"last seen before first seen: {row}"
            if missed is not None and not (last if last is not None else first) < missed:
                yield f"missed before it was last seen: {row}"
            ends.setdefault(row["account_id"], []).append(row)
            for person in self.people.of(self.key, row["account_id"]):
                yield from self._bounds(row, person)
        for row in self.churn:
            if row["state"] == "retracted":
                continue
            own = ends.get(row["account_id"], [])
            if row["change"] == "lost":
                fits = any(
                    m["first_seen"] <= row["previous_date"] == m["last_seen"]
                    and m["end_kind"] == "lost"
                    and m.get("first_missed", row["snapshot_date"]) == row["snapshot_date"]
                    for m in own
                )
            else:
                fits = any(
                    m["first_seen"] == row["snapshot_date"] and m["start_kind"] == row["change"]
                    for m in own
                )
            if not fits:
                yield f"a claim without its membership: {row}, but {own}"
        claims = {
            (row["account_id"], row["previous_date"])
            for row in self.churn
            if row["change"] == "lost" and row["state"] != "retracted"
        }
        for row in rows:
            if row["end_kind"] == "lost" and (row["account_id"], row["last_seen"]) not in claims:
                yield f"a membership that ended as lost without a claim: {row}"

    def _bounds(self, row: Row, person: str) -> Iterator[str]:
        """When somebody revealed began to follow, as far as order tells."""
        earliest, latest = row.get("followed_after"), row.get("followed_before")
        if earliest is None and latest is None:
            return
        starts = [
            start
            for start, end in self.world.stints[self.key].get(person, ())
            if start <= row["first_seen"] and (end is None or row["first_seen"] < end)
        ]
        if len(self.people.of(self.key, row["account_id"])) == 1 and starts:
            if earliest is not None and starts[-1] < earliest:
                yield f"{person} follows since {starts[-1]}: {row}"
            if latest is not None and starts[-1] > latest and len(self._unseen()) < 2:
                yield f"{person} follows since {starts[-1]}: {row}"

    def _unseen(self) -> set[str]:
        """Who left and came again between two lists that show it, or is shown out of order: where
        there are two, the order misleads anybody about when the others came."""
        found: set[str] = set()
        for one, other in pairwise(self.usable):
            there = set(one.people) & set(other.people)
            found |= {p for p in there if self.world.came(self.key, p, one.day, other.day)}
            if "shuffled" in other.quirks:
                found |= there
        return found

    def _snapshots(self) -> Iterator[str]:
        shown = {each.day: each for each in self.days}
        for row in self.tables.of("snapshots", self.key):
            day = shown[row["snapshot_date"]]
            known = "exhaustive" in row and day.depth == "full" and "ids" not in day.quirks
            if known and row["exhaustive"] is not day.exhaustive:
                yield f"exhaustive is {row['exhaustive']}: {row}"
            if day.status == "found" and row["reported_total"] != day.total:
                yield f"the total was told as {day.total}: {row}"

    def _growth(self) -> Iterator[str]:
        shown = {each.day: each for each in self.days}
        confirmed: dict[int, int] = {}
        for row in self.churn:
            if (row["change"], row["state"]) == ("lost", "confirmed"):
                confirmed[row["snapshot_date"]] = confirmed.get(row["snapshot_date"], 0) + 1
        for row in self.tables.of("follower_growth", self.key):
            day = shown.get(row["snapshot_date"])
            if day is None:
                continue
            if (row["followers_lost"] or 0) > confirmed.get(day.day, 0):
                yield f"counts more losses than are confirmed: {row}"
            listed = len(day.people)
            bad = day.total is not None and listed - day.total > max(2, 0.005 * listed)
            if bad and day.depth == "full" and row["followers_total"] == day.total:
                yield f"takes a total below what is listed for true: {row}"

    def _retention(self) -> Iterator[str]:
        lost: dict[int, int] = {}
        for row in self.churn:
            if (row["change"], row["state"]) != ("lost", "confirmed"):
                continue
            for m in self.tables.of("memberships", self.key):
                if m["account_id"] == row["account_id"] and m["last_seen"] == row["previous_date"]:
                    week = m["first_seen"] // 7 * 7
                    lost[week] = lost.get(week, 0) + 1
        for row in self.tables.of("weekly_retention", self.key):
            if row["lost"] > lost.get(row["week"], 0):
                yield f"counts losses that did not happen: {row}"
            low, high = row.get("retention_low"), row.get("retention_high")
            if row["retention"] is None:
                if low is not None or high is not None:
                    yield f"bounds of what nobody knows: {row}"
                if row["still_listed"]:
                    yield f"no retention, though somebody is still listed: {row}"
            elif row["retention"] == 0 and row["unknown"]:
                yield f"says that nobody is left, which nobody knows: {row}"
            elif not 0 <= row["retention"] <= 1 or (
                low is not None and not 0 <= low <= row["retention"] <= (high or 1) <= 1
            ):
                yield f"no share: {row}"

    def _mutuals(self) -> Iterator[str]:
        for row in self.tables["lost_mutuals"]:
            key: ListKey = (row["handle"], "following")
            if key not in self.world.lists or row["still_followed"] is not False:
                continue
            named = self.people.of((row["handle"], "followers"), row["account_id"])
            usable = [d.day for d in self.world.lists[key] if d.usable and d.day <= self.day]
            if all(self.world.follows(key, p, usable[-1]) for p in named):
                yield f"still followed: {row}"
            lost = [
                each for each in self.tables.of("churn", key)
                if each["change"] == "lost" and each["state"] == "confirmed"
                and self.people.of(key, each["account_id"]) & named
            ]  # fmt: skip
            if not lost:
                yield f"nobody knows that it is not followed: {row}"

    def _accounts(self) -> Iterator[str]:
        """One account is one id in all lists of a home, wherever ids that were shown link it."""
        used: dict[frozenset[str], set[str]] = {}
        ids = {row["account_id"] for key in self.world.lists
               for row in self.tables.of("memberships", key)}  # fmt: skip
        mine = {
            row["account_id"] for row in self.tables["accounts"]
            if self.people.component(row["account_id"], self.day) & ids
        }  # fmt: skip
        for account_id in ids | mine:
            if not account_id.startswith("@"):
                used.setdefault(self.people.component(account_id, self.day), set()).add(account_id)
        for some in used.values():
            if len(some) > 1:
                yield f"one account, several ids: {sorted(some)}"


def _clean(day: ListDay) -> bool:
    """In order, read to its end, and everybody told apart by an id."""
    return (
        not day.quirks & {"ids", "shuffled", "cut"}
        and day.depth == "full"
        and all(entry.number or entry.sec for entry in day.entries)
    )


def _have_to_do(one: ListDay, other: ListDay) -> bool:
    """Lists with nobody in common allow no claims."""
    return not one.people or not other.people or bool(set(one.people) & set(other.people))


def longest_rising(values: list[int]) -> int:
    """Length of the longest rising run, with any others left out."""
    tails: list[int] = []
    for value in values:
        at = bisect_left(tails, value)
        tails[at : at + 1] = [value]
    return len(tails)
