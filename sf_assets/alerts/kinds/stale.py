"""`stale`: a tracked handle without a usable snapshot for days."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import Alert, AlertContext, Words, cell
from sf_assets.model import AlertKind, Relation
from sf_assets.text import counted
from sf_assets.warehouse.statements import sql

# A handle is stale after this many due days without a usable snapshot.
STALE_DAYS = 3


@dataclass(frozen=True)
class Stale(Alert):
    """A tracked handle without a usable snapshot on STALE_DAYS due days.

    `previous_day` is the day of the last usable snapshot; None if there never was one.
    """

    kind: ClassVar[AlertKind] = "stale"
    has_before: ClassVar[bool] = True

    last_snapshot: date
    last_status: str
    today: date = field(compare=False)

    @classmethod
    def find(cls, context: AlertContext) -> list[Stale]:
        """One alert per spell, whenever it began; its id has the last usable day.

        A handle without any snapshot is left to the check `finished_today`.
        """
        registry = context.registry
        tracked = [
            row
            for row in context.rows(sql("alert_stale"))
            if row[0] in registry.handles and row[2] in registry.settings_of(row[0]).relations
        ]
        found = []
        for (handle, usable), group in groupby(tracked, key=lambda row: row[:2]):
            parts = list(group)
            # A list that was never usable is counted from its first snapshot.
            base = usable or min(part[3] for part in parts)
            since = {part[2]: _missed(context, handle, part[2], base) for part in parts}
            parts = [part for part in parts if since[part[2]]]
            if not parts:
                continue
            newest = max(parts, key=lambda part: part[4])
            ids = tuple(f"{base}/{handle}/{part[2]}/stale" for part in parts)
            relations = tuple(part[2] for part in parts)
            first = min(day for day in since.values() if day)
            found.append(
                cls(ids, handle, relations, first, usable, newest[4], newest[5], context.today)
            )
        return found

    @property
    def ui_path(self) -> str:
        return cell(self.relations[0], self.last_snapshot, self.handle or "")

    @property
    def details(self) -> dict[str, Any]:
        return {
            "last_usable": str(self.previous_day) if self.previous_day else None,
            "last_snapshot": str(self.last_snapshot),
            "last_status": self.last_status,
        }

    @property
    def words(self) -> Words:
        what = "no usable list" if len(self.relations) > 1 else f"no usable {self.relations[0]}"
        before = (
            f"The last usable list is of {self.previous_day} (UTC)"
            if self.previous_day
            else f"No usable list since the first snapshot on {self._base} (UTC)"
        )
        return Words(
            f"{what} for {counted((self.today - self._base).days, 'day')}",
            f"{before}. The newest snapshot, of {self.last_snapshot}, is {self._last}.",
            "No gain or loss is counted since then. The next usable list is compared across the "
            "gap. Look at its failed partitions and run sf-assets doctor, or untrack it.",
            "usable",
            self.last_status if self.last_status != "found" else "stale",
        )

    @property
    def _base(self) -> date:
        return date.fromisoformat(self.id.partition("/")[0])

    @property
    def _last(self) -> str:
        if self.last_status != "found":
            return self.last_status
        return (
            "found, but its list is not usable"
            if self.last_snapshot > self._base
            else "found, and no later snapshot was finished"
        )


def _missed(context: AlertContext, handle: str, relation: Relation, base: date) -> date | None:
    """The day after `base` on which the list was due for the STALE_DAYS-th time; None before it."""
    days = (base + timedelta(days=number) for number in range(1, (context.today - base).days + 1))
    due = [day for day in days if context.registry.due(handle, relation, day)]
    return due[STALE_DAYS - 1] if len(due) >= STALE_DAYS else None
