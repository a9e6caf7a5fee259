"""What the vendor said is left of our credits, kept in `balance.jsonl` of the home."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from sf_assets.home import Home
from sf_assets.landing import now


@dataclass(frozen=True)
class Reading:
    """Credits left at a moment (`at`, UTC, ISO 8601) of a day."""

    at: str
    day: date
    balance: int


def note_balance(home: Home, balance: int, day: date) -> None:
    """Remember a balance that was just asked for."""
    line = json.dumps({"at": now(), "day": day.isoformat(), "balance": balance})
    path = home.root / "balance.jsonl"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
        file.write(f"{line}\n")


def readings(home: Home) -> Iterator[Reading]:
    """What was remembered, oldest first; a torn line is left out."""
    try:
        text = (home.root / "balance.jsonl").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            found = json.loads(line)
            yield Reading(str(found["at"]), date.fromisoformat(found["day"]), int(found["balance"]))
        except (ValueError, KeyError, TypeError):
            continue
