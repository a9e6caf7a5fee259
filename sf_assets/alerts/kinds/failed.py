"""`failed`: lists could not be read, and a second alert when they are stored again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import NAMED, Alert, AlertContext, Level, Words, cell
from sf_assets.alerts.strangers import quoted, shown
from sf_assets.ingest import days
from sf_assets.model import RELATIONS, AlertKind
from sf_assets.text import counted


@dataclass(frozen=True)
class DayFailed(Alert):
    """Lists that could not be read since `day`. If `healed`, they failed since `previous_day` and
    are stored again since `day`."""

    kind: ClassVar[AlertKind] = "failed"

    lists: int
    handles: tuple[str, ...]
    reasons: tuple[str, ...]

    @classmethod
    def find(cls, context: AlertContext) -> list[DayFailed]:
        """One alert when an outage begins, one when all its lists are stored again."""
        noted = days.notes(context.home)
        handles = {key.handle for note in noted for key in note.lists}
        first = min((note.day for note in noted), default=context.since)
        stored = days.stored_lists(context.con, first, handles) if context.con and noted else {}
        found = []
        for outage in days.outages(noted, stored, context.registry):
            names = tuple(sorted({handle for handle, _ in outage.lists}))
            # The first outage of a day has no number, as in alerts delivered by older versions.
            which = f"-{outage.number}" if outage.number > 1 else ""
            failed = cls(
                (f"{outage.day}/failed{which}",),
                names[0] if len(names) == 1 else None,
                tuple(
                    relation
                    for relation in RELATIONS
                    if relation in {key[1] for key in outage.lists}
                ),
                outage.day,
                None,
                len(outage.lists),
                names,
                outage.reasons,
            )
            found.append(failed)
            if outage.healed_on is not None:
                ids, day = (f"{outage.day}/healed{which}",), outage.healed_on
                found.append(replace(failed, change_ids=ids, day=day, previous_day=outage.day))
        return [alert for alert in found if alert.day >= context.since]

    @property
    def healed(self) -> bool:
        """Whether all lists are stored again."""
        return self.previous_day is not None

    @property
    def concerns(self) -> tuple[str, ...]:
        return self.handles

    @property
    def level(self) -> Level:
        return "success" if self.healed else "warning"

    @property
    def ui_path(self) -> str:
        return cell(self.relations[0], self.day, self.handles[0])

    @property
    def details(self) -> dict[str, Any]:
        return {
            "healed": self.healed,
            "lists": self.lists,
            "handles": list(self.handles),
            "reasons": list(self.reasons),
        }

    @property
    def words(self) -> Words:
        lists = counted(self.lists, "list")
        who = ", ".join(shown(handle) for handle in self.handles[:NAMED])
        more = len(self.handles) - NAMED
        who += f" and {more:,} more" if more > 0 else ""
        if not self.healed:
            return Words(
                f"{lists} could not be read on {self.day}",
                f"{who}: {quoted(' | '.join(self.reasons)) or 'the run gave no reason'}",
                "They are retried after growing pauses until midnight (UTC). Nothing is bought "
                "twice. Another alert follows when all of them are stored.",
                "stored",
                "failed",
            )
        return Words(
            f"{lists} stored again after failing since {self.previous_day}",
            f"The lists of {who} are stored again since {self.day} (UTC).",
            "No day was missed."
            if self.day == self.previous_day
            else "The days in between are missing and can no longer be read. The next lists are "
            "compared across the gap. sf-assets doctor lists the missing days.",
            "failed",
            "stored",
        )
