"""`status`: a list turned private, hidden or missing, or is open again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import Alert, AlertContext, Level, Words, cell
from sf_assets.model import AlertKind
from sf_assets.warehouse.statements import sql

_TURNED = {
    "private": "turned private",
    "hidden": "was hidden",
    "not_found": "was not found",
    "found": "is open again",
}
_MEANS = {
    "private": "Its lists cannot be read while it is private, so no gain or loss is counted.",
    "hidden": "The owner hides this list. No gain or loss is counted while it is hidden.",
    "not_found": "The handle was deleted, banned or renamed. If it was renamed, track the new "
    "handle.",
    "found": "It can be read again. The next list is compared across the gap.",
}


@dataclass(frozen=True)
class StatusChange(Alert):
    """A change of the lookup status of one list of a handle, or of both lists alike, on a day."""

    kind: ClassVar[AlertKind] = "status"
    has_before: ClassVar[bool] = True

    from_status: str
    to_status: str

    @classmethod
    def find(cls, context: AlertContext) -> list[StatusChange]:
        """The changes since the kind is on. Lists of a handle that change alike make one alert."""
        rows = context.rows(sql("alert_status"), since=context.on_since)
        found = []
        for (day, handle, before, after), group in groupby(rows, key=lambda row: row[:4]):
            parts = list(group)
            ids, relations = (tuple(part[at] for part in parts) for at in (6, 5))
            previous = max(part[4] for part in parts)
            found.append(cls(ids, handle, relations, day, previous, before, after))
        return found

    @property
    def level(self) -> Level:
        return "success" if self.to_status == "found" else "warning"

    @property
    def ui_path(self) -> str:
        return cell(self.relations[0], self.day, self.handle or "")

    @property
    def details(self) -> dict[str, Any]:
        return {"from_status": self.from_status, "to_status": self.to_status}

    @property
    def words(self) -> Words:
        what = "profile" if len(self.relations) > 1 else f"{self.relations[0]} list"
        return Words(
            f"{what} {_TURNED[self.to_status]}",
            f"{self.from_status} → {self.to_status} on {self.day} (UTC), last seen "
            f"{self.from_status} on {self.previous_day}.",
            _MEANS[self.to_status],
            self.from_status,
            self.to_status,
            f" ({self.from_status} → {self.to_status})",
        )
