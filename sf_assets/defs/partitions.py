"""The partitions: a grid of UTC days and tracked handles, and days for the derived assets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone

import dagster as dg


@dataclass(frozen=True)
class PartitionSet:
    """The dynamic partitions of a home: one per tracked handle."""

    name: str = "handles"

    @property
    def definition(self) -> dg.DynamicPartitionsDefinition:
        """Dagster's definition of these partitions."""
        return dg.DynamicPartitionsDefinition(name=self.name)

    def registered(self, instance: dg.DagsterInstance) -> list[str]:
        """The handles that have a partition, in the order of their registration."""
        return list(instance.get_dynamic_partitions(self.name))

    def register(self, instance: dg.DagsterInstance, handles: Iterable[str]) -> list[str]:
        """Add partitions for new handles, and return all in the order of their registration."""
        registered = set(self.registered(instance))
        new = [handle for handle in handles if handle not in registered]
        if new:
            instance.add_dynamic_partitions(self.name, new)
        return self.registered(instance)


@dataclass(frozen=True)
class Grid:
    """The days of the grid: from `start` to today, or to a later `today` in a test or demo."""

    start: date
    today: date | None = None
    handles: PartitionSet = field(default_factory=PartitionSet)

    @property
    def days(self) -> dg.DailyPartitionsDefinition:
        """UTC days up to and including today."""
        # By default a daily definition ends at yesterday.
        real = datetime.now(timezone.utc).date()
        ahead = max(0, (self.today - real).days) if self.today else 0
        return dg.DailyPartitionsDefinition(
            self.start.isoformat(), timezone="UTC", end_offset=1 + ahead
        )

    @property
    def cells(self) -> dg.MultiPartitionsDefinition:
        """`date` x `handle`. A key is `2026-11-22|bob`: Dagster orders dimensions by name."""
        return dg.MultiPartitionsDefinition({"date": self.days, "handle": self.handles.definition})


def grid_key(day: date, handle: str) -> str:
    """The partition key of a handle on a day: `2026-11-22|bob`."""
    return f"{day.isoformat()}|{handle}"


def split_grid_key(key: str) -> tuple[date, str]:
    """The day and the handle of a partition key. Raises ValueError for a bad day."""
    day, _, handle = key.partition("|")
    return date.fromisoformat(day), handle


@dataclass(frozen=True)
class HandleRange:
    """Neighbouring handles, in the order of their registration, that one run covers."""

    handles: tuple[str, ...]

    @property
    def first(self) -> str:
        """The first handle."""
        return self.handles[0]

    @property
    def last(self) -> str:
        """The last handle."""
        return self.handles[-1]

    @property
    def size(self) -> int:
        """The number of handles."""
        return len(self.handles)

    def tags(self, day: date) -> dict[str, str]:
        """The run tags that select this range of handles on `day`."""
        return {
            "dagster/asset_partition_range_start": grid_key(day, self.first),
            "dagster/asset_partition_range_end": grid_key(day, self.last),
        }


def handle_ranges(registered: Sequence[str], wanted: set[str], chunk: int) -> list[HandleRange]:
    """Cover the `wanted` handles with ranges of at most `chunk` neighbours in `registered`.

    Dagster's ranges follow the order of registration, so an unwanted handle ends a range.
    """
    ranges: list[HandleRange] = []
    run: list[str] = []
    for handle in [*registered, None]:
        if run and (handle is None or handle not in wanted or len(run) == chunk):
            ranges.append(HandleRange(tuple(run)))
            run = []
        if handle is not None and handle in wanted:
            run.append(handle)
    return ranges
