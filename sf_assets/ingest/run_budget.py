"""What a run may spend, told before it begins, and what it did spend, told when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pydantic import SecretStr

from sf_assets.credits.budget import Budget
from sf_assets.credits.estimate import Cost
from sf_assets.credits.meter import DayMeter
from sf_assets.credits.shares import Need, shares
from sf_assets.handles.settings import Registry
from sf_assets.ingest.reader import ListToRead
from sf_assets.model import RELATIONS, SnapshotKey
from sf_assets.settings import Settings
from sf_assets.social_fetch import SocialFetchClient
from sf_assets.storage.landing import Landing, spent_on
from sf_assets.storage.records import Landed, now
from sf_assets.text import counted
from sf_assets.warehouse.ledger import Balances

# Lists that get less than they need are named up to so many.
NAMED = 10

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
        self._meter = DayMeter(self.landing.meter(day), lambda: spent_on(self.landing, day))
        self.balance_before = ask_balance(self.settings)
        self._count_before = self._meter.count
        cap = self.settings.daily_credits
        needs = [self._need(wanted, costs) for wanted in lists]
        self.expected = sum(need.credits or 0 for need in needs)
        unread = sum(need.credits is None for need in needs)
        others = self._others({wanted.key for wanted in lists})
        # A first look at the others takes them as not begun; that they are is seen only if needed.
        of_others = {key: self._need(ListToRead(key), costs) for key in others}
        rest = sum(1 if need.credits is None else need.credits for need in of_others.values())
        balance = self.balance_before
        handles = self._handles(lists)
        caps = {handle: max(0, cap - meter.count) for handle, (cap, meter) in handles.items()}
        short_of_balance = bool(balance) and self.expected + unread + rest > (balance or 0)
        left = None if cap is None else max(0, cap - self._count_before)
        budget = Budget(cap, self._count_before, caps=caps, handles=handles, meter=self._meter)
        if left is not None or caps or short_of_balance:
            begun = {wanted.key: wanted for wanted in self._begun(others)}
            all_needs = [
                *(self._capped(need, caps) for need in needs),
                *(self._need(begun[key], costs) for key in of_others if key in begun),
            ]
            purse = balance if short_of_balance else None
            limit = min((one for one in (left, purse) if one is not None), default=None)
            given = shares(all_needs, limit)
            budget.allowances = {wanted.key: given[wanted.key] for wanted in lists}
            budget.until_refused = purse is not None and (left is None or purse < left)
        self.plan = self._said(needs, unread, budget, left)
        return budget

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
        day = self.settings.day()
        return [
            key
            for handle, relation in self.registry.lists_due(day)
            if (key := SnapshotKey(day, handle, relation)) not in own
        ]

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
        found = {}
        for handle in sorted({wanted.key.handle for wanted in lists}):
            own = self.registry.settings_of(handle)
            if own.daily_credits is not None:
                spent = self._spent_on(handle)
                meter = DayMeter(self.landing.meter(self.settings.day(), handle), lambda: 0)
                meter.at_least(spent)  # what was bought while it had no cap counts too
                found[handle] = (own.daily_credits, meter)
        return found

    def _spent_on(self, handle: str) -> int:
        # A list that is not tracked any more may have been bought this morning.
        day = self.settings.day()
        return spent_on(self.landing, day, [SnapshotKey(day, handle, one) for one in RELATIONS])

    @staticmethod
    def _capped(need: Need, caps: Mapping[str, int]) -> Need:
        return Need(
            need.key, need.credits, need.priority, need.last_read, caps.get(need.key.handle)
        )

    def _said(self, needs: Sequence[Need], unread: int, budget: Budget, left: int | None) -> str:
        said = f"about {counted(self.expected, 'credit')}"
        if unread:
            said += f" and {counted(unread, 'list')} never read before"
        if left is not None:
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
        async with SocialFetchClient(
            api_key=settings.key() or (SecretStr("sfk_sim") if settings.simulated else None),
            base_url=settings.base_url,
            max_tries=2,
            max_wait=2,
            deadline=15,
        ) as client:
            return (await client.balance()).balance

    # In a thread of its own: whoever runs the asset may have an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(lambda: asyncio.run(ask())).result()
        except Exception:
            return None  # whatever it was: the lists do not depend on it
