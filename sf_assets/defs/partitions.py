"""The grid: a UTC day times a tracked handle; and the days alone, for what is derived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone

import dagster as dg


@dataclass(frozen=True)
class PartitionSet:
    """The dynamic partitions that are the tracked handles of a home."""

    name: str = "handles"

    @property
    def definition(self) -> dg.DynamicPartitionsDefinition:
        return dg.DynamicPartitionsDefinition(name=self.name)

    def registered(self, instance: dg.DagsterInstance) -> list[str]:
        """The handles that have a partition, in the order in which they got it."""
        return list(instance.get_dynamic_partitions(self.name))

    def register(self, instance: dg.DagsterInstance, handles: Iterable[str]) -> list[str]:
        """Make partitions of handles that have none yet; returns all in their order."""
        known = set(self.registered(instance))
        new = [handle for handle in handles if handle not in known]
        if new:
            instance.add_dynamic_partitions(self.name, new)
        return self.registered(instance)


@dataclass(frozen=True)
class Grid:
    """The days of the grid: from `start` up to today, further where `today` is pretended."""

    start: date
    today: date | None = None
    handles: PartitionSet = field(default_factory=PartitionSet)

    @property
    def days(self) -> dg.DailyPartitionsDefinition:
        """UTC days up to and including today."""
        # A daily definition ends at yesterday; the API knows only today.
        real = datetime.now(timezone.utc).date()
        ahead = max(0, (self.today - real).days) if self.today else 0
        return dg.DailyPartitionsDefinition(
            self.start.isoformat(), timezone="UTC", end_offset=1 + ahead
        )

    @property
    def cells(self) -> dg.MultiPartitionsDefinition:
        """`date` times `handle`; keys read `2026-11-22|bob`, dimensions ordered by name."""
        return dg.MultiPartitionsDefinition({"date": self.days, "handle": self.handles.definition})


def grid_key(day: date, handle: str) -> str:
    return f"{day.isoformat()}|{handle}"


def split_grid_key(key: str) -> tuple[date, str]:
    day, _, handle = key.partition("|")
    return date.fromisoformat(day), handle


@dataclass(frozen=True)
class HandleRange:
    """Handles next to each other in the order of their registration, as one run covers them."""

    handles: tuple[str, ...]

    @property
    def first(self) -> str:
        return self.handles[0]

    @property
    def last(self) -> str:
        return self.handles[-1]

    @property
    def size(self) -> int:
        return len(self.handles)

    def tags(self, day: date) -> dict[str, str]:
        """The run tags that make this range of one day the run's partitions."""
        return {
            "dagster/asset_partition_range_start": grid_key(day, self.first),
            "dagster/asset_partition_range_end": grid_key(day, self.last),
        }


def handle_ranges(registered: Sequence[str], wanted: set[str], chunk: int) -> list[HandleRange]:
    """Cover `wanted` with runs of at most `chunk` neighbours among the `registered` handles.

    Ranges follow the order of registration, so a handle that is not wanted ends one.
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
