"""A tracked handle that may be somebody else's now."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import Alert, Look, Words, cell
from sf_assets.model import AlertKind
from sf_assets.warehouse.statements import sql


@dataclass(frozen=True)
class Break(Alert):
    """Lists of a handle that have next to nothing in common with those of `previous_day`, and the
    totals of the first of them, None where the API gave none."""

    kind: ClassVar[AlertKind] = "break"
    has_before: ClassVar[bool] = True

    total: int | None
    total_before: int | None

    @classmethod
    def find(cls, look: Look) -> list[Break]:
        """Breaks of which handles.yaml says nothing yet; both lists of a day are one."""
        rows = look.rows(sql("alert_breaks"), since=look.since)
        found = []
        for (day, handle), group in groupby(rows, key=lambda row: row[:2]):
            if day in look.registry.settings_of(handle).breaks:
                continue
            parts = list(group)
            ids = tuple(f"{day}/{handle}/{part[2]}/break" for part in parts)
            relations, (_, _, _, previous, total, before) = tuple(p[2] for p in parts), parts[0]
            found.append(cls(ids, handle, relations, day, previous, total, before))
        return found

    @property
    def place(self) -> str:
        return cell(self.relations[0], self.day, self.handle or "")

    @property
    def details(self) -> dict[str, Any]:
        return {"total": self.total, "total_before": self.total_before}

    @property
    def words(self) -> Words:
        return Words(
            "may be somebody else's handle now",
            f"Of those listed on {self.previous_day} next to nobody is listed on {self.day} (UTC)"
            f"{self._totals}.",
            "A new series begins, and no one is counted as gained or lost across the break. If it "
            f"is the same person, compare the lists: sf-assets track {self.handle} --continue. If "
            f"it is not: sf-assets track {self.handle} --new-series, or untrack it.",
            _said(self.total_before),
            _said(self.total),
        )

    @property
    def _totals(self) -> str:
        if self.total is None or self.total_before is None:
            return ""
        return f"; the total went from {self.total_before:,} to {self.total:,}"


def _said(total: int | None) -> str:
    return "no total" if total is None else f"{total:,}"
