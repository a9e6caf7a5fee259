"""What came of the lists of a run, as values: no file, no database and no Dagster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sf_assets.errors import SfAssetsError
from sf_assets.ingest.reader import Collected
from sf_assets.model import Relation, SnapshotKey
from sf_assets.storage.records import Attempt, Landed
from sf_assets.text import counted, first_line, named, one_line
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.errors import WarehouseBusy
from sf_assets.warehouse.load import Before, LoadFailure

# Lists of a batch that are named in the log; the others are counted.
NAMED = 20


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed, in a sentence for people and in plain values for programs."""

    sentence: str
    metadata: Mapping[str, Any]


@dataclass
class RunOutcome:
    """What came of the lists of a run.

    `unfinished` has the reason of each list that is not stored. `attempts` are those of lists that
    no loaded snapshot stands for: the ledger needs them all the same. `not_begun` are lists that
    our own caps left no page for, which is no failure. `pages_missing` has the lists that the
    vendor cut short for lack of credits, with None where no page of it is known. `refused` is why
    the vendor stopped all lists. `busy`: another process held the warehouse.
    """

    unfinished: dict[SnapshotKey, str] = field(default_factory=dict)
    attempts: dict[SnapshotKey, tuple[Attempt, ...]] = field(default_factory=dict)
    not_begun: list[SnapshotKey] = field(default_factory=list)
    pages_missing: dict[SnapshotKey, int | None] = field(default_factory=dict)
    new_fields: dict[Relation, Counter[str]] = field(default_factory=dict)
    refused: str | None = None
    transient: bool = False
    busy: bool = False

    def add(self, ended: Collected) -> None:
        """Take in what became of a list that was read."""
        key, stopped = ended.key, ended.stopped
        self.attempts[key] = ended.attempts
        self.new_fields.setdefault(key.relation, Counter()).update(ended.new_fields)
        if stopped in ("unauthorized", "credits"):
            self.refused = stopped
        if stopped == "credits":
            self.pages_missing[key] = ended.pages_missing
        if stopped == "budget":
            self.not_begun.append(key)
        elif not ended.finished:
            self.unfinished[key] = ended.reason or "unfinished"
            self.transient |= not ended.permanent

    def add_loaded(
        self,
        landings: Mapping[SnapshotKey, Landed],
        rows: Iterable[SnapshotRow],
        failures: Iterable[LoadFailure],
    ) -> None:
        """Take in what became of landed lists, of which each was loaded or failed by itself."""
        for row in rows:
            self.attempts.pop(row.key, None)
        for failure in failures:
            self.unfinished[failure.key] = (
                f"{failure.key}: its landed pages cannot be loaded ({failure.reason}); they are "
                f"kept in {landings[failure.key].path}"
            )

    def add_not_loaded(self, keys: Iterable[SnapshotKey], error: Exception) -> str:
        """Take in that none of these landed lists could be loaded; returns a line for the log."""
        why = str(error) if isinstance(error, SfAssetsError) else first_line(error)
        reasons = dict.fromkeys(keys, f"what was landed is not loaded: {why}")
        self.unfinished |= reasons
        self.busy |= isinstance(error, WarehouseBusy)
        self.transient |= self.busy
        return f"{counted(len(reasons), 'list is', 'lists are')} landed and not loaded: {why}"

    @property
    def worth_another_try(self) -> bool:
        """Whether the run, tried again in a minute, may finish more."""
        return self.transient and self.refused is None

    def unfinished_of(self, keys: Iterable[SnapshotKey]) -> str | None:
        """Which of these lists are unfinished and why, for the log."""
        lines = [f"{key}: {self.unfinished[key]}" for key in keys if key in self.unfinished]
        more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
        return "unfinished: " + "\n".join([*lines[:NAMED], *more]) if lines else None

    def capped(self) -> str | None:
        """Which lists our own caps left no page for, and what to do."""
        if not self.not_begun:
            return None
        names = named([f"{key.handle} {key.relation}" for key in self.not_begun])
        return (
            f"nothing was left for {counted(len(self.not_begun), 'list')} ({names}): raise "
            "SF_ASSETS_DAILY_CREDITS, or their daily_credits or priority in handles.yaml"
        )

    def strange_fields(self) -> dict[Relation, dict[str, int]]:
        """The fields that the contract does not have, and how often they came."""
        return {
            relation: {one_line(name, 60): count for name, count in counts.most_common(50)}
            for relation, counts in self.new_fields.items()
            if counts
        }

    def failure(
        self, asked_for: int, before: Mapping[tuple[str, str], Before]
    ) -> RunFailure | None:
        """Why the run failed; None where it did not.

        `asked_for` is how many lists it had, `before` what they were like when last stored.
        """
        if not self.unfinished and self.refused is None:
            return None
        missing = self._credits_missing(before)
        # Lists that money cut short would each say the same: one sentence says it for all.
        own = dict.fromkeys(
            why for key, why in self.unfinished.items() if key not in self.pages_missing
        )
        money = [self._out_of_credits(missing)] if self.pages_missing else []
        sentences = [f"{sentence}." for sentence in money]
        if self.unfinished:
            sentences.append(self._did_not_finish(asked_for, list(own)))
        return RunFailure(
            " ".join(sentences),
            {
                "credits_missing": missing,
                "unfinished": [str(key) for key in sorted(self.unfinished)],
                "reasons": [*money, *own][:50],
                "refused_by_vendor": self.refused or "",
            },
        )

    def _credits_missing(self, before: Mapping[tuple[str, str], Before]) -> int:
        """About how many credits the lists take that money cut short."""
        missing = 0
        for key, pages in self.pages_missing.items():
            last = before.get((key.relation, key.handle))
            # A list that was never begun counts as one page.
            missing += pages if pages is not None else last.pages if last else 1
        return missing

    def _out_of_credits(self, missing: int) -> str:
        return (
            f"credits ran out: about {missing} more are missing for the rest of "
            f"{counted(len(self.pages_missing), 'list')}, stored as far as it could be read. "
            "Top up and run the day again: it goes on where it stopped"
        )

    def _did_not_finish(self, asked_for: int, reasons: Sequence[str]) -> str:
        handles = named(sorted({key.handle for key in self.unfinished}))
        said = (
            f"{len(self.unfinished)} of {counted(asked_for, 'list')} did not finish ({handles}); "
            f"the others are stored. {' | '.join(reasons[:5])}"
        )
        return said.strip()
