"""Plans what a run may spend before it begins, and records what it spent when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sf_assets.credits.budget import Budget
from sf_assets.credits.estimate import Cost
from sf_assets.credits.meter import DayMeter, meter_of
from sf_assets.credits.shares import Need, least, limit_of, shares
from sf_assets.handles.settings import Registry
from sf_assets.ingest.client import client_of
from sf_assets.ingest.reader import ListToRead
from sf_assets.model import RELATIONS, SnapshotKey
from sf_assets.settings import Settings
from sf_assets.storage.landing import Landing, spent_on
from sf_assets.storage.records import Landed, now
from sf_assets.text import counted
from sf_assets.warehouse.ledger import Balances

# Named lists that get less than they need. The others are counted.
NAMED = 10
# Assumed pages of a list that was never read: as many as TikTok usually shows.
UNKNOWN_PAGES = 250

Costs = Mapping[tuple[str, str], Cost]


@dataclass
class Spending:
    """The credits of one run.

    `plan` is a line with the estimated cost and whether the credits suffice.
    """

    settings: Settings
    registry: Registry
    landing: Landing
    run_id: str
    plan: str = ""
    expected: int = 0
    balance_before: int | None = None
    _meter: DayMeter | None = field(default=None, repr=False)
    _count_before: int = 0

    def prepare(self, lists: Sequence[ListToRead], costs: Costs) -> Budget:
        """Request the balance, and share it and our caps out among `lists` by their estimated
        cost. Never raises for a failed request."""
        day = self.settings.day()
        self._meter = meter_of(self.landing.meter(day), lambda: spent_on(self.landing, day))
        self.balance_before = ask_balance(self.settings)
        self._count_before = self._meter.count
        needs = [self._need(wanted, costs) for wanted in lists]
        self.expected = sum(need.credits or 0 for need in needs)
        others = self._others({wanted.key for wanted in lists})
        # This estimate assumes that the other lists are not begun. The landing is read if needed.
        rest = least(self._need(ListToRead(key), costs) for key in others)
        handles = self._handles(lists)
        budget = Budget(
            self.settings.daily_credits,
            self._count_before,
            caps={handle: max(0, cap - meter.count) for handle, (cap, meter) in handles.items()},
            handles=handles,
            meter=self._meter,
        )
        left = None if budget.limit is None else max(0, budget.limit - budget.spent)
        limit, budget.until_refused = limit_of(left, self.balance_before, least(needs) + rest)
        if limit is not None or budget.caps:
            allowances = shares(
                [
                    *(replace(need, cap=budget.caps.get(need.key.handle)) for need in needs),
                    *(self._need(wanted, costs) for wanted in self._unfinished(others)),
                ],
                limit,
            )
            budget.allowances = {wanted.key: allowances[wanted.key] for wanted in lists}
        self.plan = self._plan_line(needs, budget)
        return budget

    def pages(self, lists: Sequence[ListToRead], costs: Costs) -> int:
        """An upper estimate of the pages of `lists`, before anything is requested."""
        needs = [self._need(wanted, costs).credits for wanted in lists]
        pages = sum(UNKNOWN_PAGES if need is None else max(1, need) for need in needs)
        cap = self.settings.daily_credits
        return pages if cap is None else min(pages, cap)

    def finish(self) -> Balances | None:
        """The balances before and after the run; None if a request failed."""
        if self._meter is None:
            return None
        after = ask_balance(self.settings) if self.balance_before is not None else None
        count = self._meter.count
        if self.balance_before is None or after is None:
            return None
        return Balances(
            run_id=self.run_id,
            snapshot_date=self.settings.day(),
            asked_at=now(),
            balance_before=self.balance_before,
            balance_after=after,
            credits=count - self._count_before,
        )

    def _need(self, wanted: ListToRead, costs: Costs) -> Need:
        key = wanted.key
        own = self.registry.settings_of(key.handle)
        cost = costs.get((key.relation, key.handle))
        if cost is None:
            # Never read: unknown, except for a limit in pages.
            most = own.of(key.relation).max_pages
            return Need(key, most and max(0, most - wanted.paid), wanted.priority)
        credits = cost.expected(own.of(key.relation), whole=wanted.whole)
        return Need(key, max(0, credits - wanted.paid), wanted.priority, cost.last_date)

    def _others(self, own: set[SnapshotKey]) -> list[SnapshotKey]:
        """The other due lists of the day, which also need credits, in this run or another."""
        return [key for key in self.registry.lists_due(self.settings.day()) if key not in own]

    def _unfinished(self, keys: Iterable[SnapshotKey]) -> list[ListToRead]:
        """The lists that are not finished yet, with what they have cost already.

        A list that the budget cut is finished.
        """
        unfinished = []
        for key, landed in self.landing.read_each(keys):
            if not isinstance(landed, Landed) or landed.to_load is None:
                own = self.registry.settings_of(key.handle)
                paid = landed.spent if isinstance(landed, Landed) else 0
                unfinished.append(ListToRead(key, priority=own.priority, paid=paid))
        return unfinished

    def _handles(self, lists: Sequence[ListToRead]) -> dict[str, tuple[int, DayMeter]]:
        """Handle -> its cap and the meter of its credits today, for the handles of these lists."""
        day, caps = self.settings.day(), {}
        for handle in sorted({wanted.key.handle for wanted in lists}):
            own = self.registry.settings_of(handle)
            if own.daily_credits is not None:
                # Both relations: a list may have been bought today before it was untracked.
                both = [SnapshotKey(day, handle, relation) for relation in RELATIONS]
                meter = meter_of(self.landing.meter(day, handle), lambda: 0, stays_open=False)
                # Includes what was bought today before the cap was set.
                meter.at_least(spent_on(self.landing, day, both))
                caps[handle] = (own.daily_credits, meter)
        return caps

    def _plan_line(self, needs: Sequence[Need], budget: Budget) -> str:
        line = f"about {counted(self.expected, 'credit')}"
        unread = sum(need.credits is None for need in needs)
        if unread:
            line += f" and {counted(unread, 'list')} of unknown length"
        if budget.limit is not None:
            line += f"; {self._count_before:,} of {budget.limit:,} spent today"
        if self.balance_before is None:
            line += "; balance unknown"
        else:
            line += f"; balance {self.balance_before:,}"
        cut = []
        for need in sorted(needs, key=lambda need: need.rank):
            share = budget.allowances.get(need.key)
            if share is not None and (need.credits is None or share < need.credits):
                wanted = "?" if need.credits is None else need.credits
                cut.append(f"{need.key.handle} {need.key.relation} {share} of {wanted}")
        if not cut:
            return f"{line}: sufficient"
        more = f" and {len(cut) - NAMED} more" if len(cut) > NAMED else ""
        return f"{line}: not sufficient, shared page by page ({', '.join(cut[:NAMED])}{more})"


def ask_balance(settings: Settings) -> int | None:
    """The balance in credits, from the free route; None if the request fails. Never raises."""

    async def ask() -> int:
        # A separate client, so that errors here do not stop the lists.
        async with client_of(settings, max_tries=2, max_wait=2, deadline=15) as client:
            return (await client.balance()).balance

    # In a separate thread, because this one may run an event loop.
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(lambda: asyncio.run(ask())).result()
        except Exception:
            return None  # the lists do not depend on the balance
