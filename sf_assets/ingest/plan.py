"""What a run has to do for each of its lists: read it, load it, or leave it as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone

from sf_assets.credits.estimate import Cost
from sf_assets.handles.settings import Registry
from sf_assets.ingest.reader import ListToRead
from sf_assets.model import SnapshotKey
from sf_assets.storage.landing import Landing
from sf_assets.storage.records import Landed, LandingDamaged
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.load import Before

# A list begun yesterday may be read to its end after midnight; days later it would be a mixture.
RESUME_HOURS = 6


@dataclass
class Plan:
    """Lists to `read` from the API, landed ones to `load`, `ready` ones, and those `refused`.

    `disordered` are `recent` ones that are read whole, because their order did not hold.
    """

    read: list[ListToRead] = field(default_factory=list)
    load: list[Landed] = field(default_factory=list)
    ready: list[SnapshotRow] = field(default_factory=list)
    refused: dict[SnapshotKey, str] = field(default_factory=dict)
    disordered: dict[SnapshotKey, float] = field(default_factory=dict)


def make_plan(
    keys: Iterable[SnapshotKey],
    *,
    today: date,
    refresh: bool,
    untracked: bool,
    landing: Landing,
    loaded: Mapping[SnapshotKey, SnapshotRow],
    before: Mapping[tuple[str, str], Before],
    registry: Registry,
    costs: Mapping[tuple[str, str], Cost],
) -> Plan:
    """Sort the lists of a run by what is there of them already.

    `loaded` are their rows in the published database, `before` what their last snapshots before
    today were like, `costs` what reading them has cost, both by (relation, handle). What is
    finished for the day is neither bought nor loaded again. What the registry does not name is
    bought only if `untracked` asks for it.
    """
    plan = Plan()
    for key, landed in landing.read_each(keys):
        if isinstance(landed, LandingDamaged):
            plan.refused[key] = str(landed)
            continue
        row = loaded.get(key)
        best = landed.to_load if landed else None
        settled = landed.settled if landed else row is not None
        may_ask, why_not = _may_ask(key, today, landed)
        if may_ask and not untracked and key.handle not in registry.handles:
            may_ask, why_not = False, _not_tracked(key)
        if may_ask and (refresh or not settled):
            own = registry.settings_of(key.handle)
            depth = own.of(key.relation)
            cost = costs.get((key.relation, key.handle))
            if cost and depth.depth == "recent" and not cost.in_order:
                plan.disordered[key] = cost.order_agreement or 0.0
            last = before.get((key.relation, key.handle))
            plan.read.append(
                ListToRead(
                    key,
                    max_pages=depth.max_pages,
                    user_id=own.user_id,
                    priority=own.priority,
                    status_before=last.lookup_status if last else None,
                    pages_before=last.pages if last else None,
                    largest=last.largest if last else 0,
                    paid=landed.spent if landed and not landed.settled else 0,
                    # A refresh is for who does not trust what is there.
                    whole=refresh or not cost or cost.whole_due(depth, key.day, cost.whole_date),
                )
            )
        elif landed and best and (row is None or row.version < (best.number, best.pages)):
            plan.load.append(landed)
        elif row is not None:
            plan.ready.append(row)
        else:
            plan.refused[key] = why_not
    return plan


def _not_tracked(key: SnapshotKey) -> str:
    return (
        f"{key}: handles.yaml does not name {key.handle}, so nothing was asked for. Track it with "
        f"`sf-assets track {key.handle}`, or set `untracked: true` in the run's config to buy it "
        "this once"
    )


def _may_ask(key: SnapshotKey, today: date, landed: Landed | None) -> tuple[bool, str]:
    """Whether the API may be asked for this list now; if not, why not."""
    if key.day == today:
        return True, ""
    if key.day > today:
        return False, f"{key}: that day has not begun (UTC)"
    if landed is not None and landed.attempts and not landed.settled:
        modified = datetime.fromtimestamp(landed.modified, timezone.utc)
        if datetime.now(timezone.utc) - modified < timedelta(hours=RESUME_HOURS):
            return True, ""
        return False, (
            f"{key}: its reading broke off and the day is over; the pages that were landed are "
            f"kept in {landed.path}. The next snapshot is compared across the gap"
        )
    return False, (
        f"{key} cannot be fetched any more: the API knows only now, and today is {today} (UTC). "
        "Nothing was asked for. Gaps are normal: the next snapshot is compared across them"
    )
