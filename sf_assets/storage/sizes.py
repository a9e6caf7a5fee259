"""The size of a home by part, its growth, and when its disk will be full.

The first run of a day, and each run that buys pages, writes a line to `sizes.jsonl`. The growth is
computed from these lines.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sf_assets.storage.home import Home
from sf_assets.storage.jsonl import append, lines
from sf_assets.storage.object_store import is_remote
from sf_assets.text import counted

PARTS = ("landing", "archive", "warehouse", "published", "dagster", "lake")
#: The growth is measured over this many days at most.
SPAN = 14


@dataclass(frozen=True)
class Sizes:
    """Bytes that a home uses on this machine, by part, and free bytes on its disk.

    `growth` is in bytes per day over the last `days` days; None before the second day.
    """

    parts: dict[str, int]
    free: int
    growth: float | None = None
    days: int = 0

    @property
    def total(self) -> int:
        """The bytes of all parts."""
        return sum(self.parts.values())

    @property
    def days_left(self) -> int | None:
        """The days until the disk is full at this growth; None if the home does not grow."""
        return int(self.free / self.growth) if self.growth and self.growth > 0 else None

    @property
    def pace(self) -> str:
        """The growth in words."""
        if self.growth is None:
            return "its growth is known from the second day on"
        over = f"over the last {self.days} days" if self.days > 1 else "since yesterday"
        if self.days_left is None:
            return f"it did not grow {over}"
        left = self.days_left
        when = f"{left / 365:,.0f} years" if left > 730 else counted(left, "day")
        return f"it grows by {megabytes(self.growth)} per day ({over}); the disk is full in {when}"

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {megabytes(size)}" for part, size in self.parts.items())
        by_part = f" ({parts})" if parts else ""
        return f"the home uses {megabytes(self.total)}{by_part}; {self.pace}"


def megabytes(size: float) -> str:
    """A number of bytes as `1,234 MB`, or `1.2 MB` below 10 MB."""
    return f"{size / 1e6:,.{0 if size >= 10e6 else 1}f} MB"


def sizes(home: Home, today: date) -> Sizes:
    """The current sizes. Files in an object store are not counted."""
    parts = _measured(home)
    noted = {
        day: sum(line["parts"].values())
        for day, line in _noted(home)
        if today - timedelta(days=SPAN) <= day < today
    }
    first = min(noted, default=None)
    days = (today - first).days if first else 0
    growth = (sum(parts.values()) - noted[first]) / days if first else None
    folder = home.root
    while not folder.exists():
        folder = folder.parent
    return Sizes(parts, shutil.disk_usage(folder).free, growth, days)


def note_size(home: Home, day: date, pages: int, size: int) -> None:
    """Record the sizes of a day, and the number and bytes of the raw pages of a run.

    Raises OSError.
    """
    last = max((noted for noted, _ in _noted(home)), default=None)
    if pages or last is None or last < day:
        line = {"day": day.isoformat(), "parts": _measured(home), "pages": pages, "bytes": size}
        append(home.root / "sizes.jsonl", [line])


def page_size(home: Home) -> float | None:
    """The largest mean size of a raw page among recent runs, in bytes; None without any."""
    found = [line["bytes"] / line["pages"] for _, line in _noted(home) if line["pages"]]
    return max(found[-SPAN:], default=None)


def _noted(home: Home) -> Iterator[tuple[date, dict[str, Any]]]:
    for line in lines(home.root / "sizes.jsonl"):
        with suppress(KeyError, ValueError, TypeError):
            if line["pages"] >= 0 and sum(line["parts"].values()) >= 0 and line["bytes"] >= 0:
                yield date.fromisoformat(line["day"]), line


def _measured(home: Home) -> dict[str, int]:
    """Bytes on the disk by part. A file with several names counts once."""
    parts: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    inside = home.root.resolve()
    for folder in (home.root, home.landing, home.archive):
        if is_remote(folder) or (folder != home.root and inside in folder.resolve().parents):
            continue
        for parent, _, names in os.walk(folder):
            below = Path(parent).relative_to(folder).parts
            part = folder.name if folder != home.root else below[0] if below else ""
            part = part if part in PARTS else "other"
            for name in names:
                with suppress(OSError):  # removed meanwhile
                    stat = os.lstat(os.path.join(parent, name))
                    if (stat.st_dev, stat.st_ino) not in seen:
                        seen.add((stat.st_dev, stat.st_ino))
                        blocks = getattr(stat, "st_blocks", None)
                        size = stat.st_size if blocks is None else blocks * 512
                        parts[part] = parts.get(part, 0) + size
    return {part: parts[part] for part in (*PARTS, "other") if part in parts}
