"""Random worlds whose truth is known: the same world for the same seed and number.

People follow one another, leave, return, take new handles and each other's; the API shows them
with what goes wrong with it. Only what nobody could tell from the truth is left out: an account is
never missing for three lists in a row while it follows, nobody is missing on the day of the
follow or soon after an earlier absence, and a false total is far from what is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from sf_assets.model import Relation

from .worlds import Entry, ListDay, ListKey, World, account

TRACKED = 900  # p900, p901, … are tracked handles
IDS = ("full", "full", "full", "number", "sec", "handle", "mixed")
TOTALS = (
    "exact", "exact", "exact", "null", "some null", "late", "sometimes late", "phantoms", "wrong",
    "zero",
)  # fmt: skip


@dataclass
class _Manner:
    """How one list is shown."""

    ids: str
    weak_days: float
    cap: int | None
    total: str
    gap: float
    status: float
    shuffle: float
    cut: float
    hole: float
    flicker: float
    counted_out: float
    depth: str


class _Shown:
    """What a list has shown so far, as far as it decides who may be missing next."""

    def __init__(self) -> None:
        self.missing: dict[str, tuple[int, bool]] = {}  # until which day; whether totals follow
        self.rested: dict[str, int] = {}  # ordered lists in a row that show a person
        self.status_until = -1
        self.status = "private"


class _Inventor:
    def __init__(self, seed: str, number: int, size: int | None) -> None:
        self.number = number
        self.chance = chance = Random(seed)
        self.day = 0
        self.sequence = 0
        self.last_person = 0
        self.follows: dict[tuple[str, str], int] = {}
        self.stints: dict[tuple[str, str], list[list[int | None]]] = {}
        self.handles: dict[str, str] = {}
        self.freed: list[str] = []
        self.renamed: set[str] = set()
        self.gone: list[tuple[str, str]] = []
        # Banned followers that a total goes on counting, and until when.
        self.phantoms: dict[tuple[str, str], int] = {}
        self.true_before: dict[ListKey, frozenset[str]] = {}
        self.tracked = [f"p{TRACKED + n}" for n in range(chance.choice((1, 1, 2, 3)))]
        self.keys: list[tuple[str, Relation]] = []
        for x in self.tracked:
            self.keys.append((x, "followers"))
            if len(self.tracked) > 1 or chance.random() < 0.3:
                self.keys.append((x, "following"))
        self.manners = {key: self._manner() for key in self.keys}
        self.shown = {key: _Shown() for key in self.keys}
        self.wild = chance.random() < 0.7
        self._begin(size or chance.choice((6, 14, 25, 25, 40)))

    # --- what happens ---

    def _manner(self) -> _Manner:
        chance = self.chance

        def at_times(share: float, rate: float) -> float:
            return rate if chance.random() < share else 0.0

        made = _Manner(
            ids=chance.choice(IDS),
            weak_days=at_times(0.3, 0.3),
            cap=chance.choice((None, None, 12, 20, 25)),
            total=chance.choice(TOTALS),
            gap=at_times(0.3, 0.2),
            status=at_times(0.2, 0.12),
            shuffle=at_times(0.25, 0.2),
            cut=at_times(0.2, 0.2),
            hole=at_times(0.2, 0.15),
            flicker=at_times(0.5, 0.05),
            counted_out=chance.choice((0.0, 0.0, 1.0, 0.5)),
            depth=chance.choice(("full",) * 5 + ("recent",)),
        )
        if "late" in made.total:
            # A late total over a gap can hide that a list is capped, from anybody.
            made.gap = made.status = made.cut = 0.0
        return made

    def _begin(self, size: int) -> None:
        fans = [self._person() for _ in range(size)]
        for x in self.tracked:
            some = [p for p in fans if self.chance.random() < 0.8]
            for p in some:
                self._follow(p, x)
            for p in fans:
                if self.chance.random() < 0.5:
                    self._follow(x, p)
            for other in self.tracked:
                if other != x and self.chance.random() < 0.7:
                    self._follow(x, other)
        # Who comes first must not be the order of the numbers in every list.
        for edge in self.chance.sample(sorted(self.follows), len(self.follows) // 3):
            self.sequence += 1
            self.follows[edge] = self.sequence

    def _person(self) -> str:
        self.last_person += 1
        return f"p{self.last_person}"

    def _follow(self, who: str, whom: str) -> None:
        if who == whom or (who, whom) in self.follows:
            return
        self.sequence += 1
        self.follows[who, whom] = self.sequence
        start = self.day if self.day else -1
        self.stints.setdefault((who, whom), []).append([start, None])

    def _leave(self, who: str, whom: str) -> None:
        del self.follows[who, whom]
        self.stints[who, whom][-1][1] = self.day
        self.gone.append((who, whom))

    def _edges(self, key: tuple[str, Relation]) -> list[tuple[str, str]]:
        """The follows of a list, newest first."""
        end = 1 if key[1] == "followers" else 0
        edges = [edge for edge in self.follows if edge[end] == key[0]]
        return sorted(edges, key=self.follows.__getitem__, reverse=True)

    def _live(self) -> None:
        chance = self.chance
        self.renamed = set()
        for key in self.keys:
            edges = self._edges(key)
            for edge in chance.sample(edges, min(len(edges), chance.choice((0, 0, 0, 1, 1, 2)))):
                self._leave(*edge)
                if chance.random() < 0.1:
                    self._follow(*edge)  # and again on the same day
            edges = self._edges(key)
            if chance.random() < 0.04 and len(edges) > 16:
                at = chance.randrange(len(edges) - 7)
                for edge in edges[at : at + 6]:
                    self._leave(*edge)
            if chance.random() < 0.05 and edges and self.manners[key].total == "phantoms":
                edge = chance.choice(self._edges(key))
                self._leave(*edge)
                self.gone.remove(edge)
                self.phantoms[edge] = self.day + chance.choice((1, 2, 99))
            for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
                mine = [e for e in self.gone if e[1 if key[1] == "followers" else 0] == key[0]]
                if mine and chance.random() < 0.4:
                    again = chance.choice(mine)
                    self.gone.remove(again)
                    self._follow(*again)
                elif key[1] == "followers":
                    self._follow(self._newcomer(), key[0])
                else:
                    self._follow(key[0], self._newcomer())
        if self.wild and chance.random() < 0.3:
            self._rename()

    def _newcomer(self) -> str:
        if self.last_person > 3 and self.chance.random() < 0.2:
            return f"p{self.chance.randrange(1, self.last_person + 1)}"
        person = self._person()
        if self.freed and self.chance.random() < 0.3:
            self.handles[person] = self.freed.pop()
        return person

    def _rename(self) -> None:
        """A new handle, another's freed handle, or two people who swap theirs."""
        missing = {p for shown in self.shown.values() for p in shown.missing}
        there = {p for e in self.follows for p in e} - set(self.tracked) - missing
        if len(there) < 2:
            return
        one, other = self.chance.sample(sorted(there), 2)
        old = self._handle(one)
        kind = self.chance.choice(("new", "new", "takeover", "swap"))
        self.renamed |= {one} if kind == "new" else {one, other}
        if kind == "swap":
            self.handles[one], self.handles[other] = self._handle(other), old
            return
        self.handles[one] = f"w{self.number}.new{self.day}.{one}"
        if kind == "takeover":
            self.freed.append(self._handle(other))
            self.handles[other] = old
        else:
            self.freed.append(old)

    def _handle(self, person: str) -> str:
        return self.handles.get(person) or account(self.number, person).handle

    # --- what is shown ---

    def _show(self, key: tuple[str, Relation]) -> ListDay | None:
        chance, manner, shown = self.chance, self.manners[key], self.shown[key]
        day, quirks = self.day, set[str]()
        end = 0 if key[1] == "followers" else 1
        order = [edge[end] for edge in self._edges(key)]
        true = frozenset(order)
        before, self.true_before[key] = self.true_before.get(key, true), true
        self._miss(manner, shown, order)
        if day and chance.random() < manner.gap:
            return None
        if day and (day <= shown.status_until or chance.random() < manner.status):
            if day > shown.status_until:
                shown.status_until = day + chance.choice((0, 0, 1, 3))
                shown.status = chance.choice(("private", "hidden", "not_found"))
            return ListDay(day, status=shown.status)

        phantoms = {e[end] for e, until in self.phantoms.items()
                    if e[1 - end] == key[0] and day < until}  # fmt: skip
        uncounted = {p for p, (_, follows) in shown.missing.items() if follows}
        counted = frozenset((true - uncounted) | phantoms)
        shown_at_all = [p for p in order if p not in shown.missing]
        if day and chance.random() < manner.shuffle and len(shown_at_all) > 5:
            # Also whom the window does not reach on other days; a narrow one would have so few in
            # common with the day before that they are in order by chance.
            narrow = shown_at_all[: manner.cap] if manner.cap == 12 else shown_at_all
            shown_at_all = chance.sample(narrow, len(narrow))
            quirks.add("shuffled")
        listed = shown_at_all[: manner.cap]
        total: int | None = len(counted)
        if manner.total == "null" or (manner.total == "some null" and chance.random() < 0.4):
            counted, total = frozenset(), None
        elif manner.total == "late" or (manner.total == "sometimes late" and chance.random() < 0.5):
            if before != counted:
                quirks.add("late total")
            counted = before
            total = len(counted)
        elif manner.total in ("wrong", "zero") and chance.random() < 0.3:
            wrong = (3 * len(listed) + 50, 10**9, len(listed) // 3)
            total = 0 if manner.total == "zero" else chance.choice(wrong)
            counted = frozenset()
            quirks.add("wrong total")
            if not len(listed) > 4 + (total if total < len(listed) else 0):
                total = None
        entries = [self._entry(manner, p) for p in listed]
        reason, depth, first = "exhausted", manner.depth, None
        if chance.random() < manner.cut and len(entries) > 8 and "shuffled" not in quirks:
            entries = entries[: chance.randrange(4, len(entries) - 2)]
            reason, depth = chance.choice(("page_limit", "budget")), "full"
            quirks.add("cut")
        elif depth == "recent" and (day % 4 == 0 or chance.random() < 0.2):
            depth = "full"
        if chance.random() < manner.weak_days:
            # A reading that stops early does not show whom else a number belongs to.
            self._weaken(entries, share=depth == "full")
            quirks.add("ids")
        if (
            manner.depth == "full"
            and "cut" not in quirks
            and len(entries) > 8
            and chance.random() < 0.04
        ):
            first = ListDay(day, tuple(entries[:7]), total, end="page_limit", counted=counted)
        if shown.missing:
            quirks.add("missing")
        ordered = "shuffled" not in quirks
        here = {e.person for e in entries}
        shown.rested = {
            p: shown.rested.get(p, 0) + 1 if ordered else 0 for p in here
        }  # fmt: skip
        return ListDay(
            day, tuple(entries), total, end=reason, depth=depth, counted=counted,
            missing=frozenset(shown.missing), quirks=frozenset(quirks), first=first,
        )  # fmt: skip

    def _miss(self, manner: _Manner, shown: _Shown, order: Sequence[str]) -> None:
        """Decide who is missing today though they follow: for a day or two, then rested again."""
        chance, day = self.chance, self.day
        began = {p: until for p, (until, _) in shown.missing.items()}
        shown.missing = {
            p: how
            for p, how in shown.missing.items()
            if day <= how[0] and p in order and not self._restarted(p, order)
        }
        for p in began:
            shown.rested[p] = 0
        ready = [
            p for p in order
            if shown.rested.get(p, 0) >= 2 and p not in self.renamed and p not in began
            and not self._restarted(p, order)
        ]  # fmt: skip
        if day and ready and chance.random() < manner.hole and not shown.missing:
            at = chance.randrange(len(order))
            for p in order[at : at + chance.randrange(4, 8)]:
                if p in ready:
                    shown.missing[p] = (day + chance.choice((0, 1)), False)
        for p in ready:
            if chance.random() < manner.flicker and p not in shown.missing:
                follows = chance.random() < manner.counted_out
                shown.missing[p] = (day + chance.choice((0, 1)), follows)

    def _restarted(self, person: str, order: Sequence[str]) -> bool:
        """Whether one of the person's follows is of these days."""
        return any(
            (stints[-1][0] or 0) >= self.day - 2
            for (a, b), stints in self.stints.items()
            if person in (a, b) and stints
        )

    def _entry(self, manner: _Manner, person: str) -> Entry:
        ids = manner.ids
        if ids == "mixed":
            ids = ("full", "number", "sec", "handle")[int(person[1:]) % 4]
        entry = replace(account(self.number, person), handle=self._handle(person))
        return replace(
            entry,
            user_id=entry.user_id if ids in ("full", "number") else None,
            sec_uid=entry.sec_uid if ids in ("full", "sec") else None,
        )

    def _weaken(self, entries: list[Entry], *, share: bool) -> None:
        """Placeholders, missing ids, and one number shown for two accounts."""
        chance = self.chance
        for at, entry in enumerate(entries):
            if chance.random() < 0.3:
                odd = chance.choice((None, None, "0", "-1", "", "unknown", "00", "0.0"))
                sec = chance.choice((None, entry.sec_uid, ""))
                entries[at] = replace(entry, user_id=odd, sec_uid=sec)
        if share and len(entries) > 2 and chance.random() < 0.4:
            one, other = chance.sample(range(len(entries)), 2)
            entries[one] = replace(entries[one], user_id=entries[other].user_id)

    def tell(self, days: int) -> World:
        lists: dict[ListKey, list[ListDay]] = {}
        for day in range(days):
            self.day = day
            if day:
                self._live()
            for key in self.keys:
                made = self._show(key)
                if made is not None:
                    name = account(self.number, key[0]).handle
                    lists.setdefault((name, key[1]), []).append(made)
        stints: dict[ListKey, dict[str, tuple[tuple[int, int | None], ...]]] = {}
        for (who, whom), some in self.stints.items():
            told = tuple((int(start or 0), end) for start, end in some)
            followers: ListKey = (account(self.number, whom).handle, "followers")
            following: ListKey = (account(self.number, who).handle, "following")
            stints.setdefault(followers, {})[who] = told
            stints.setdefault(following, {})[whom] = told
        return World(
            f"{self.number}",
            {key: tuple(some) for key, some in lists.items()},
            {key: stints.get(key, {}) for key in lists},
        )


def invent(seed: int, number: int, *, days: int = 10, size: int | None = None) -> World:
    """World `number` of a seed; two numbers have neither handles nor people in common."""
    worlds = (_Inventor(f"{seed}/{number}/{again}", number, size).tell(days) for again in count())
    return next(world for world in worlds if world.fair)
