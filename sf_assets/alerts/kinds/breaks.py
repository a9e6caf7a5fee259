"""`break`: a tracked handle may belong to another person now."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import Alert, AlertContext, Words, cell
from sf_assets.model import AlertKind
from sf_assets.warehouse.statements import sql


@dataclass(frozen=True)
class Break(Alert):
    """Lists of a handle that share almost no account with those of `previous_day`.

    The totals are those of the first list, None if the API returned none.
    """

    kind: ClassVar[AlertKind] = "break"
    has_before: ClassVar[bool] = True

    total: int | None
    total_before: int | None

    @classmethod
    def find(cls, context: AlertContext) -> list[Break]:
        """Breaks that handles.yaml does not explain. Both lists of a day make one alert."""
        rows = context.rows(sql("alert_breaks"), since=context.since)
        found = []
        for (day, handle), group in groupby(rows, key=lambda row: row[:2]):
            if day in context.registry.settings_of(handle).breaks:
                continue
            parts = list(group)
            ids = tuple(f"{day}/{handle}/{part[2]}/break" for part in parts)
            relations, (_, _, _, previous, total, before) = tuple(p[2] for p in parts), parts[0]
            found.append(cls(ids, handle, relations, day, previous, total, before))
        return found

    @property
    def ui_path(self) -> str:
        return cell(self.relations[0], self.day, self.handle or "")

    @property
    def details(self) -> dict[str, Any]:
        return {"total": self.total, "total_before": self.total_before}

    @property
    def words(self) -> Words:
        return Words(
            "may belong to another person now",
            f"The list of {self.day} (UTC) has almost no account of the list of "
            f"{self.previous_day}{self._totals}.",
            "A new series begins, and no gain or loss is counted across the break. If the handle "
            f"still belongs to the same person, run sf-assets track {self.handle} --continue. If "
            f"not, run sf-assets track {self.handle} --new-series, or untrack it.",
            _total(self.total_before),
            _total(self.total),
        )

    @property
    def _totals(self) -> str:
        if self.total is None or self.total_before is None:
            return ""
        return f"; the total went from {self.total_before:,} to {self.total:,}"


def _total(total: int | None) -> str:
    return "no total" if total is None else f"{total:,}"
