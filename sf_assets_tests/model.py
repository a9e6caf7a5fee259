"""A small world that knows the truth, for property-based tests of what is claimed about it.

Accounts follow, leave, come again, are renamed and banned; their lists are capped, shuffled, cut
off, shown with holes, with pages twice, with accounts missing for a day. `Story` keeps beside each
list what was true that day, and why somebody who follows is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from .lists import Told, Who

QUIRKS = (
    "flicker", "shuffle", "skip", "early_end", "cut", "overlap", "repeat", "stale",
    "private", "empty", "purge", "cap", "banned", "ids", "renames", "gaps",
)  # fmt: skip


@dataclass
class Day:
    """One list as served, and the truth of its day."""

    day: int
    told: Told
    listed: list[int]
    following: list[int]
    quirks: set[str]

    @property
    def usable(self) -> bool:
        told = self.told
        empty = told.total == 0 and told.end == "exhausted"
        return told.status == "found" and (bool(self.listed) or empty)

    @property
    def complete(self) -> bool:
        total = self.told.total or 0
        short = abs(total - len(self.listed)) <= max(2, 0.005 * total)
        return self.told.end == "exhausted" and short


@dataclass
class Story:
    """One handle over some days. `follows[n]` are the days on which account `n` began to follow."""

    handle: str
    days: list[Day] = field(default_factory=list)
    follows: dict[int, list[int]] = field(default_factory=dict)

    @property
    def usable(self) -> list[Day]:
        return [day for day in self.days if day.usable]

    def told(self) -> list[Told]:
        return [day.told for day in self.days]

    def began(self, account: int, day: int) -> int:
        """When the account's follow that holds on `day` began."""
        return max(began for began in self.follows[account] if began <= day)


def invent(handle: str, seed: int, quirks: frozenset[str], days: int = 8, size: int = 40) -> Story:
    """A story, the same for the same arguments."""
    return _Inventor(handle, Random(f"{handle}/{seed}"), quirks, size).tell(days)


class _Inventor:
    def __init__(self, handle: str, chance: Random, quirks: frozenset[str], size: int) -> None:
        self.chance, self.quirks = chance, quirks
        self.story = Story(handle)
        self.base = 1_000 * (sum(handle.encode()) % 900)
        self.following = [self.base + n for n in range(size, 0, -1)]
        self.next = self.base + size + 1
        self.story.follows = {n: [0] for n in self.following}
        self.left: list[int] = []
        self.banned: set[int] = set()
        self.handles: dict[int, str] = {}
        self.freed: list[str] = []
        self.yesterday: list[int] = []
        self.missed: set[int] = set()

    def tell(self, days: int) -> Story:
        for day in range(1, days + 1):
            if day > 1:
                self._live(day)
            if "gaps" in self.quirks and day > 1 and self.chance.random() < 0.15:
                continue
            self._show(day)
        return self.story

    def _live(self, day: int) -> None:
        chance = self.chance
        for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
            if self.following:
                gone = chance.choice(self.following)
                self.following.remove(gone)
                self.left.append(gone)
        if "purge" in self.quirks and chance.random() < 0.1 and len(self.following) > 20:
            at = chance.randrange(len(self.following) - 6)
            del self.following[at : at + 6]
        for _ in range(chance.choice((0, 0, 1, 2))):
            if self.left and chance.random() < 0.4:
                again = self.left.pop(chance.randrange(len(self.left)))
                self.following.insert(0, again)
                self.story.follows[again].append(day)
            else:
                self.following.insert(0, self.next)
                self.story.follows[self.next] = [day]
                if self.freed and chance.random() < 0.5 and self.next % 7:
                    self.handles[self.next] = self.freed.pop()
                self.next += 1
        if "banned" in self.quirks and chance.random() < 0.3 and self.following:
            self.banned.add(chance.choice(self.following))
        if "renames" in self.quirks:
            for n in self.following:
                # Who never shows an id is another person under another name, to everybody.
                if n % 7 and chance.random() < 0.03:
                    self.freed.append(self.handles.get(n, f"fan{n}"))
                    self.handles[n] = f"fan{n}.{day}"

    def _who(self, n: int) -> Who:
        handle = self.handles.get(n, f"fan{n}")
        if n % 7 == 0:
            return Who(n, handle, None, None)
        # One of the two ids is there every day; the other one comes and goes.
        lacks = "ids" in self.quirks and self.chance.random() < 0.3
        if n % 7 < 4:
            return Who(n, handle, "", None if lacks else "")
        return Who(n, handle, None if lacks else "", "")

    def _happens(self, quirk: str, share: float) -> bool:
        return quirk in self.quirks and self.chance.random() < share

    def _show(self, day: int) -> None:
        chance, today = self.chance, set[str]()
        shown = [n for n in self.following if n not in self.banned]
        if "flicker" in self.quirks:
            # Never twice in a row, which nobody can tell from having left; nor on the day of the
            # follow: two neighbours at the top, of which now one and now the other is missing,
            # look like one that came again above the other.
            self.missed = {
                n
                for n in shown
                if n not in self.missed
                and self.story.began(n, day) < day - 1
                and chance.random() < 0.05
            }
            shown = [n for n in shown if n not in self.missed]
        if "cap" in self.quirks:
            shown = shown[:25]
        end, status, total = "exhausted", "found", len(self.following)
        if self._happens("skip", 0.3) and len(shown) > 15:
            size = chance.randrange(4, 9)
            at = chance.randrange(len(shown) - size)
            del shown[at : at + size]
            today.add("skip")
        if self._happens("early_end", 0.2):
            del shown[chance.randrange(5, 30) :]
            today.add("early_end")
        if self._happens("cut", 0.2):
            del shown[chance.randrange(5, 30) :]
            end = chance.choice(("page_limit", "budget", "stalled"))
            today.add("cut")
        if self._happens("shuffle", 0.15):
            chance.shuffle(shown)
            today.add("shuffle")
        if self._happens("stale", 0.2) and len(self.yesterday) > 20 and len(shown) > 20:
            at = chance.randrange(0, 15)
            shown[at : at + 5] = self.yesterday[at : at + 5]
            today.add("stale")
        self.yesterday = [n for n in self.following if n not in self.banned][:60]
        served = list(shown)
        if self._happens("overlap", 0.3):
            for at in range(20, len(served), 20):
                served[at:at] = served[at - 3 : at]
        if self._happens("repeat", 0.2):
            served[20:20] = served[:20]
        if self._happens("private", 0.15):
            status = chance.choice(("private", "hidden", "not_found"))
        if self._happens("empty", 0.1):
            served = []
            end = "exhausted"
        listed = list(dict.fromkeys(served)) if status == "found" else []
        shown_as = {n: self._who(n) for n in listed}
        told = Told(
            day, self.story.handle, tuple(shown_as[n] for n in served if n in shown_as),
            status=status, total=total, end=end,
        )  # fmt: skip
        # Who is banned is gone from every list, and its follow still counts in the total.
        there = [n for n in self.following if n not in self.banned]
        self.story.days.append(Day(day, told, listed, there, today))
