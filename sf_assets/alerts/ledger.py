"""`alerts.jsonl` of the home: delivered alerts by address, and the day each kind was switched on.

It is not kept in Dagster, because deleting old runs must not send old alerts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date

from sf_assets.model import AlertKind
from sf_assets.storage.home import Home
from sf_assets.storage.jsonl import append, lines
from sf_assets.storage.records import now


def delivered(home: Home) -> set[str]:
    """The ids of changes whose alert all addresses received."""
    return set(deliveries(home))


def deliveries(home: Home) -> dict[str, str]:
    """Change id -> time (ISO, UTC) at which all addresses had received its alert."""
    return {
        line["change_id"]: str(line.get("at", ""))
        for line in _deliveries(home)
        if "address" not in line
    }


def received_by_address(home: Home) -> dict[str, set[str]]:
    """Address name -> the change ids that it received."""
    received: dict[str, set[str]] = {}
    for line in _deliveries(home):
        if "address" in line:
            received.setdefault(line["address"], set()).add(line["change_id"])
    return received


def note_delivered(home: Home, change_ids: Iterable[str], how: str) -> None:
    """Record that all addresses received these changes."""
    note(home, change_ids, how=how)


def note(home: Home, change_ids: Iterable[str], **fields: str) -> None:
    """Append a line per change id, with `fields` such as `address` or `how`."""
    append(home.deliveries, [{"change_id": change, "at": now(), **fields} for change in change_ids])


def switched_on(
    home: Home, kinds: Sequence[AlertKind], today: date, *, remember: bool
) -> dict[AlertKind, date]:
    """Kind -> the day it was switched on, which is the first day of its alerts.

    So a kind that was just switched on sends no old alerts. `status` is on from the start and
    covers all days, unless it was off in between. `remember` records a change.
    """
    since: dict[AlertKind, date] = {"status": date.min}
    kinds_before: list[str] = ["status"]
    for line in lines(home.deliveries):
        if isinstance(line.get("kinds"), list):
            with suppress(KeyError, ValueError, TypeError):
                day = date.fromisoformat(line["day"])
                kinds_before = [str(kind) for kind in line["kinds"]]
                since = _keep_days(since, kinds_before, day)
    if set(kinds_before) != set(kinds):
        since = _keep_days(since, kinds, today)
        if remember and (home.far or home.root.is_dir()):
            append(
                home.deliveries, [{"kinds": sorted(kinds), "day": today.isoformat(), "at": now()}]
            )
    return since


def _keep_days(
    since: dict[AlertKind, date], kinds: Sequence[str], day: date
) -> dict[AlertKind, date]:
    return {kind: since.get(kind, day) for kind in kinds}  # type: ignore[misc, call-overload]


def _deliveries(home: Home) -> Iterator[dict[str, str]]:
    for line in lines(home.deliveries):
        if isinstance(line.get("change_id"), str):
            yield line
