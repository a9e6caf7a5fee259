"""Lists that could not be read, and that they are stored again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import NAMED, Alert, Level, Look, Words, cell
from sf_assets.alerts.strangers import quoted, shown
from sf_assets.ingest import days
from sf_assets.model import RELATIONS, AlertKind
from sf_assets.text import counted


@dataclass(frozen=True)
class DayFailed(Alert):
    """Lists that could not be read since `day`; healed, they failed since `previous_day` and are
    stored again on `day`."""

    kind: ClassVar[AlertKind] = "failed"

    lists: int
    handles: tuple[str, ...]
    reasons: tuple[str, ...]

    @classmethod
    def find(cls, look: Look) -> list[DayFailed]:
        """Outages that began or ended: one alert when they begin, one when all of their lists are
        stored again."""
        noted = days.notes(look.home)
        handles = {key.handle for one in noted for key in one.lists}
        first = min((one.day for one in noted), default=look.since)
        stored = days.stored_lists(look.con, first, handles) if look.con and noted else {}
        found = []
        for outage in days.outages(noted, stored, look.registry):
            names = tuple(sorted({handle for handle, _ in outage.lists}))
            # Whoever was told of one knows it by the day alone.
            which = f"-{outage.number}" if outage.number > 1 else ""
            failed = cls(
                (f"{outage.day}/failed{which}",),
                names[0] if len(names) == 1 else None,
                tuple(one for one in RELATIONS if one in {key[1] for key in outage.lists}),
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
        return [one for one in found if one.day >= look.since]

    @property
    def healed(self) -> bool:
        return self.previous_day is not None

    @property
    def concerns(self) -> tuple[str, ...]:
        return self.handles

    @property
    def level(self) -> Level:
        return "success" if self.healed else "warning"

    @property
    def place(self) -> str:
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
                f"{who}: {quoted(' | '.join(self.reasons)) or 'the run did not say why'}",
                "It is tried again after growing pauses until midnight (UTC); nothing is bought "
                "twice. You are told when the lists are stored again.",
                "stored",
                "failed",
            )
        return Words(
            f"{lists} that failed since {self.previous_day} can be read again",
            f"The lists of {who} are stored again on {self.day} (UTC).",
            "Nothing was missed: the day was not over."
            if self.day == self.previous_day
            else "What was missed in between cannot be fetched any more; the next figures are "
            "compared across the gap. sf-assets doctor names the days.",
            "failed",
            "stored",
        )
