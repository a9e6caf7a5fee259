"""Decides for each list of a run: read it, load it, skip it or refuse it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import duckdb

from sf_assets.credits.estimate import Cost, costs_before
from sf_assets.handles.settings import Registry
from sf_assets.ingest.reader import ListToRead
from sf_assets.model import SnapshotKey
from sf_assets.storage.landing import Landing
from sf_assets.storage.records import Landed, LandingDamaged
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.load import Before, lists_before, loaded_rows

# An interrupted list may continue after midnight. Later it would mix two days.
RESUME_SECONDS = 6 * 3600


@dataclass
class Plan:
    """Lists to `read` from the API, landed lists to `load`, finished (`ready`) and `refused` lists.

    `disordered` has the order agreement of `recent` lists that are read completely because their
    order did not hold.
    """

    read: list[ListToRead] = field(default_factory=list)
    load: list[Landed] = field(default_factory=list)
    ready: list[SnapshotRow] = field(default_factory=list)
    refused: dict[SnapshotKey, str] = field(default_factory=dict)
    disordered: dict[SnapshotKey, float] = field(default_factory=dict)

    @property
    def lists(self) -> int:
        """The number of lists."""
        return len(self.read) + len(self.load) + len(self.ready) + len(self.refused)


@dataclass(frozen=True)
class Refused:
    """A list that is not stored and must not be requested, with the reason."""

    reason: str


Decision = ListToRead | Landed | SnapshotRow | Refused


@dataclass(frozen=True)
class Known:
    """What the published database knows about the lists of a run.

    `loaded` has their rows. By (relation, handle), `before` describes the last snapshot before the
    day, and `costs` what reading the list cost.
    """

    loaded: Mapping[SnapshotKey, SnapshotRow] = field(default_factory=dict)
    before: Mapping[tuple[str, str], Before] = field(default_factory=dict)
    costs: Mapping[tuple[str, str], Cost] = field(default_factory=dict)


def known_of(con: duckdb.DuckDBPyConnection, keys: Iterable[SnapshotKey], day: date) -> Known:
    """What the published database knows about these lists before they are read on `day`."""
    loaded = {row.key: row for row in loaded_rows(con, keys)}
    return Known(loaded, lists_before(con, day), costs_before(con, day))


@dataclass(frozen=True)
class Rules:
    """What a run knows and wants, and the decision that follows for each of its lists.

    `refresh` buys finished lists again. `untracked` also buys lists that are not in the registry.
    """

    today: date
    refresh: bool
    untracked: bool
    registry: Registry
    known: Known

    def decide(self, key: SnapshotKey, landed: Landed | None) -> Decision:
        """Read the list, load its landed pages, keep the stored row, or refuse.

        A finished list is neither bought nor loaded again.
        """
        row = self.known.loaded.get(key)
        best = landed.to_load if landed else None
        finished = landed.finished if landed else row is not None and not row.imported
        refusal = self._refusal(key, landed)
        if refusal is None and (self.refresh or not finished):
            return self._to_read(key, landed)
        if landed and best and (row is None or row.version < (best.number, best.pages)):
            return landed
        return row or refusal or self._to_read(key, landed)

    def disorder(self, key: SnapshotKey) -> float | None:
        """The order agreement of a `recent` list if it is too low to rely on, else None."""
        cost = self.known.costs.get((key.relation, key.handle))
        depth = self.registry.settings_of(key.handle).of(key.relation).depth
        return cost.order_agreement if cost and depth == "recent" and not cost.in_order else None

    def _to_read(self, key: SnapshotKey, landed: Landed | None) -> ListToRead:
        own = self.registry.settings_of(key.handle)
        depth = own.of(key.relation)
        cost = self.known.costs.get((key.relation, key.handle))
        last = self.known.before.get((key.relation, key.handle))
        return ListToRead(
            key,
            max_pages=depth.max_pages,
            user_id=own.user_id,
            priority=own.priority,
            status_before=last.lookup_status if last else None,
            pages_before=last.pages if last else None,
            largest=last.largest if last else 0,
            paid=landed.spent if landed and not landed.finished else 0,
            # A refresh does not trust earlier lists.
            whole=self.refresh or not cost or cost.whole_due(depth, key.day, cost.whole_date),
        )

    def _refusal(self, key: SnapshotKey, landed: Landed | None) -> Refused | None:
        """Why the API must not be asked for this list now, or None."""
        begun = landed is not None and bool(landed.attempts) and not landed.finished
        if key.day > self.today:
            return Refused(f"{key}: this day has not begun (UTC)")
        if key.day < self.today and not begun:
            return Refused(
                f"{key} can no longer be read: the API returns only the current list, and today is "
                f"{self.today} (UTC). Nothing was requested. Gaps are normal: the next snapshot is "
                "compared across them"
            )
        if key.day < self.today and landed and time.time() - landed.modified >= RESUME_SECONDS:
            return Refused(
                f"{key}: reading was interrupted and the day is over. The landed pages are kept in "
                f"{landed.path}, and the next snapshot is compared across the gap"
            )
        if not self.untracked and key.handle not in self.registry.handles:
            return Refused(
                f"{key}: {key.handle} is not in handles.yaml, so nothing was requested. Track it "
                f"with `sf-assets track {key.handle}`, or set `untracked: true` in the config of "
                "the run to read it once"
            )
        return None


def make_plan(keys: Iterable[SnapshotKey], landing: Landing, rules: Rules) -> Plan:
    """Decide for each list of a run, with its landed pages."""
    plan = Plan()
    for key, landed in landing.read_each(keys):
        if isinstance(landed, LandingDamaged):
            plan.refused[key] = str(landed)
            continue
        decision = rules.decide(key, landed)
        if isinstance(decision, ListToRead):
            plan.read.append(decision)
            if (agreement := rules.disorder(key)) is not None:
                plan.disordered[key] = agreement
        elif isinstance(decision, Landed):
            plan.load.append(decision)
        elif isinstance(decision, SnapshotRow):
            plan.ready.append(decision)
        else:
            plan.refused[key] = decision.reason
    return plan
