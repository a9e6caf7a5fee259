"""Whom a row of the product's tables is about. Shares no code with the product's own rules."""

from __future__ import annotations

from collections import defaultdict

from .worlds import ListDay, ListKey, World


class People:
    """From account ids back to the people of a world.

    A number or a secUid names whoever was ever shown with it. A handle names everybody who bore it
    in that list: a row about it is taken to be about any of them.
    """

    def __init__(self, world: World) -> None:
        self._by_id: dict[str, set[str]] = defaultdict(set)
        self._by_handle: dict[tuple[ListKey, str], set[str]] = defaultdict(set)
        # The day from which on two ids are known to be one account's.
        self._linked: dict[str, dict[str, int]] = defaultdict(dict)
        for key, days in world.lists.items():
            for day in days:
                if day.first:
                    self._see(key, day.first, links=False)  # the whole list may contradict it
                self._see(key, day)

    def _see(self, key: ListKey, day: ListDay, *, links: bool = True) -> None:
        numbers = [e.number for e in day.entries]
        secs = [e.sec for e in day.entries]
        for e in day.entries:
            own = {
                e.number if numbers.count(e.number) == 1 else None,
                f"sec:{e.sec}" if e.sec and secs.count(e.sec) == 1 else None,
            } - {None}
            for each in own:
                self._by_id[str(each)].add(e.person)
                # A reading that stops at what is known may not have reached it.
                for other in map(str, own if links and day.depth == "full" else {each}):
                    known = self._linked[str(each)].get(other, day.day)
                    self._linked[str(each)][other] = min(known, day.day)
            self._by_handle[key, e.handle.lower()].add(e.person)

    def of(self, key: ListKey, account_id: str) -> set[str]:
        """Those whom the id may mean; nobody where it is no id of this world."""
        if account_id.startswith("@"):
            return self._by_handle.get((key, account_id[1:]), set())
        return self._by_id.get(account_id.removeprefix("id:"), set())

    def component(self, account_id: str, until: int) -> frozenset[str]:
        """All ids that were shown together with this one up to a day, directly or not."""
        found, todo = {account_id}, [account_id]
        while todo:
            for each, day in self._linked.get(todo.pop(), {}).items():
                if day <= until and each not in found:
                    found.add(each)
                    todo.append(each)
        return frozenset(found)
