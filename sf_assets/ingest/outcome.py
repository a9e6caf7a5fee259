"""The outcome of a run, as plain values without files, database or Dagster."""

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

# Lists of a batch that the log names. The others are counted.
NAMED = 20


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed: a sentence for people and metadata for programs."""

    sentence: str
    metadata: Mapping[str, Any]


@dataclass
class RunOutcome:
    """The outcome of the lists of a run.

    `unfinished` has the reason of each list that is not stored. `attempts` has those of lists
    without a loaded snapshot, for the ledger. `not_begun` are lists for which our own caps left no
    page, which is not a failure. `pages_missing` estimates the remaining pages of lists for which
    credits ran out, None if no page is known. `refused` is why the API stopped all lists
    (`unauthorized` or `credits`). `busy` means that another process held the warehouse.
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
        """Add the result of a list that was read."""
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
        """Add landed lists, each loaded or failed."""
        for row in rows:
            self.attempts.pop(row.key, None)
        for failure in failures:
            self.unfinished[failure.key] = (
                f"{failure.key}: cannot load its landed pages ({failure.reason}); they are kept in "
                f"{landings[failure.key].path}"
            )

    def add_not_loaded(self, keys: Iterable[SnapshotKey], error: Exception) -> str:
        """Add landed lists that could not be loaded; returns a line for the log."""
        why = str(error) if isinstance(error, SfAssetsError) else first_line(error)
        reasons = dict.fromkeys(keys, f"its landed pages are not loaded: {why}")
        self.unfinished |= reasons
        self.busy |= isinstance(error, WarehouseBusy)
        self.transient |= self.busy
        return f"{counted(len(reasons), 'list')} landed and not loaded: {why}"

    @property
    def worth_another_try(self) -> bool:
        """Whether a retry in a minute may finish more lists."""
        return self.transient and self.refused is None

    def unfinished_of(self, keys: Iterable[SnapshotKey]) -> str | None:
        """The unfinished lists among these with their reasons, for the log; None without any."""
        lines = [f"{key}: {self.unfinished[key]}" for key in keys if key in self.unfinished]
        more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
        return "Unfinished: " + "\n".join([*lines[:NAMED], *more]) if lines else None

    def capped(self) -> str | None:
        """The lists for which our own caps left no page, for the log; None without any."""
        if not self.not_begun:
            return None
        names = named([f"{key.handle} {key.relation}" for key in self.not_begun])
        return (
            f"No credit was left for {counted(len(self.not_begun), 'list')} ({names}). Raise "
            "SF_ASSETS_DAILY_CREDITS, or daily_credits or priority in handles.yaml."
        )

    def strange_fields(self) -> dict[Relation, dict[str, int]]:
        """Relation -> path -> count of the fields that are not in the contract."""
        return {
            relation: {one_line(name, 60): count for name, count in counts.most_common(50)}
            for relation, counts in self.new_fields.items()
            if counts
        }

    def failure(
        self, asked_for: int, before: Mapping[tuple[str, str], Before]
    ) -> RunFailure | None:
        """Why the run failed; None if it did not.

        `asked_for` is the number of its lists; `before` describes their last snapshots.
        """
        if not self.unfinished and self.refused is None:
            return None
        missing = self._credits_missing(before)
        # Lists without credits have the same reason, so one sentence covers them all.
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
        """An estimate of the credits that the lists still need."""
        missing = 0
        for key, pages in self.pages_missing.items():
            last = before.get((key.relation, key.handle))
            # A list that was never begun counts as one page.
            missing += pages if pages is not None else last.pages if last else 1
        return missing

    def _out_of_credits(self, missing: int) -> str:
        return (
            f"Credits ran out: the rest of {counted(len(self.pages_missing), 'list')} needs about "
            f"{counted(missing, 'more credit')}. What was read is stored. Top up and run the day "
            "again to continue where it stopped"
        )

    def _did_not_finish(self, asked_for: int, reasons: Sequence[str]) -> str:
        handles = named(sorted({key.handle for key in self.unfinished}))
        return (
            f"{len(self.unfinished)} of {counted(asked_for, 'list')} did not finish ({handles}); "
            f"the others are stored. {' | '.join(reasons[:5])}"
        ).strip()
