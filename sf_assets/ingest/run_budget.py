"""What a run may spend, told before it begins, and what it did spend, told when it has ended."""

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

# Lists that get less than they need are named up to so many.
NAMED = 10
# Of a list that was never read: as much as TikTok usually shows of one.
UNKNOWN_PAGES = 250

Costs = Mapping[tuple[str, str], Cost]


@dataclass
class Spending:
    """The credits of one run.

    `plan` says in one line what the run is expected to cost and whether there is enough for it.
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
        """Ask for the balance, hold against it and against our caps what `lists` are likely to
        cost, and say how much each of them may take."""
        day = self.settings.day()
        self._meter = meter_of(self.landing.meter(day), lambda: spent_on(self.landing, day))
        self.balance_before = ask_balance(self.settings)
        self._count_before = self._meter.count
        needs = [self._need(wanted, costs) for wanted in lists]
        self.expected = sum(need.credits or 0 for need in needs)
        others = self._others({wanted.key for wanted in lists})
        # A first look at the others takes them as not begun; that they are is seen only if needed.
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
            given = shares(
                [
                    *(replace(need, cap=budget.caps.get(need.key.handle)) for need in needs),
                    *(self._need(wanted, costs) for wanted in self._begun(others)),
                ],
                limit,
            )
            budget.allowances = {wanted.key: given[wanted.key] for wanted in lists}
        self.plan = self._said(needs, budget)
        return budget

    def pages(self, lists: Sequence[ListToRead], costs: Costs) -> int:
        """How many pages `lists` are likely to have, at most; before anything is asked for."""
        needs = [self._need(wanted, costs).credits for wanted in lists]
        pages = sum(UNKNOWN_PAGES if need is None else max(1, need) for need in needs)
        cap = self.settings.daily_credits
        return pages if cap is None else min(pages, cap)

    def finish(self) -> Balances | None:
        """The balances of the run; None where they could not be asked for."""
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
            # Never read: nobody knows, but for a depth that was asked for.
            most = own.of(key.relation).max_pages
            return Need(key, most and max(0, most - wanted.paid), wanted.priority)
        credits = cost.expected(own.of(key.relation), whole=wanted.whole)
        return Need(key, max(0, credits - wanted.paid), wanted.priority, cost.last_date)

    def _others(self, own: set[SnapshotKey]) -> list[SnapshotKey]:
        """The other lists of the day: they have a claim too, in whichever run they are read."""
        return [key for key in self.registry.lists_due(self.settings.day()) if key not in own]

    def _begun(self, keys: Iterable[SnapshotKey]) -> list[ListToRead]:
        """Those of the lists whose turn is still to come, with what they have cost already.

        One that the budget cut has had its turn.
        """
        found = []
        for key, landed in self.landing.read_each(keys):
            if not isinstance(landed, Landed) or landed.to_load is None:
                own = self.registry.settings_of(key.handle)
                paid = landed.spent if isinstance(landed, Landed) else 0
                found.append(ListToRead(key, priority=own.priority, paid=paid))
        return found

    def _handles(self, lists: Sequence[ListToRead]) -> dict[str, tuple[int, DayMeter]]:
        """The caps of these lists' handles, each with what counts its credits of today."""
        day, found = self.settings.day(), {}
        for handle in sorted({wanted.key.handle for wanted in lists}):
            own = self.registry.settings_of(handle)
            if own.daily_credits is not None:
                # A list that is not tracked any more may have been bought this morning.
                both = [SnapshotKey(day, handle, one) for one in RELATIONS]
                meter = meter_of(self.landing.meter(day, handle), lambda: 0, stays_open=False)
                # What was bought while it had no cap counts too.
                meter.at_least(spent_on(self.landing, day, both))
                found[handle] = (own.daily_credits, meter)
        return found

    def _said(self, needs: Sequence[Need], budget: Budget) -> str:
        said = f"about {counted(self.expected, 'credit')}"
        unread = sum(need.credits is None for need in needs)
        if unread:
            said += f" and {counted(unread, 'list')} never read before"
        if budget.limit is not None:
            said += f"; {self._count_before:,} of {budget.limit:,} spent today"
        if self.balance_before is None:
            said += "; the balance is not known"
        else:
            said += f"; balance {self.balance_before:,}"
        cut = []
        for need in sorted(needs, key=lambda one: one.rank):
            share = budget.allowances.get(need.key)
            if share is not None and (need.credits is None or share < need.credits):
                wanted = "?" if need.credits is None else need.credits
                cut.append(f"{need.key.handle} {need.key.relation} {share} of {wanted}")
        if not cut:
            return f"{said}: enough"
        more = f" and {len(cut) - NAMED} more" if len(cut) > NAMED else ""
        return f"{said}: handed out in rounds, first pages first ({', '.join(cut[:NAMED])}{more})"


def ask_balance(settings: Settings) -> int | None:
    """Credits left, by the free route; None where the vendor does not say. Never raises."""

    async def ask() -> int:
        # A client of its own: what goes wrong here must not stop the lists.
        async with client_of(settings, max_tries=2, max_wait=2, deadline=15) as client:
            return (await client.balance()).balance

    # In a thread of its own: whoever runs the asset may have an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(lambda: asyncio.run(ask())).result()
        except Exception:
            return None  # whatever it was: the lists do not depend on it
