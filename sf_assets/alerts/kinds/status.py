"""A status that changes: an open list turns private, hidden, missing, or open again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import Alert, Level, Look, Words, cell
from sf_assets.model import AlertKind
from sf_assets.warehouse.statements import sql

_TURNED = {
    "private": "turned private",
    "hidden": "was hidden",
    "not_found": "was not found",
    "found": "is open again",
}
_MEANS = {
    "private": "Its lists cannot be read until it opens; no one is counted as gained or lost.",
    "hidden": "The owner hides this list; no one is counted as gained or lost while it is hidden.",
    "not_found": "The handle is gone: deleted, banned or renamed. If it was renamed, track the new "
    "handle.",
    "found": "It can be read again; the next figures are compared across the gap.",
}


@dataclass(frozen=True)
class StatusChange(Alert):
    """A change of a handle's status on a day, of one of its lists or of both alike."""

    kind: ClassVar[AlertKind] = "status"
    has_before: ClassVar[bool] = True

    from_status: str
    to_status: str

    @classmethod
    def find(cls, look: Look) -> list[StatusChange]:
        """Of all days since it is on; both lists of a handle changing alike are one."""
        rows = look.rows(sql("alert_status"), since=look.on_since)
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
    def place(self) -> str:
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
