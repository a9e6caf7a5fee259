"""`alerts.jsonl` of the home: what was told to whom, and since when which kind is switched on.

Kept here and not in Dagster: deleting old runs must not send old alerts again.
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
    """Ids of changes whose alert has gone out to everybody."""
    return set(deliveries(home))


def deliveries(home: Home) -> dict[str, str]:
    """Id of a change -> when its alert had gone out to everybody."""
    return {
        line["change_id"]: str(line.get("at", ""))
        for line in _deliveries(home)
        if "address" not in line
    }


def taken(home: Home) -> dict[str, set[str]]:
    """Name of an address -> ids of the changes that it had."""
    found: dict[str, set[str]] = {}
    for line in _deliveries(home):
        if "address" in line:
            found.setdefault(line["address"], set()).add(line["change_id"])
    return found


def note_delivered(home: Home, change_ids: Iterable[str], how: str) -> None:
    """Remember that these changes are told, and how."""
    note(home, change_ids, how=how)


def note(home: Home, change_ids: Iterable[str], **said: str) -> None:
    append(home.deliveries, [{"change_id": one, "at": now(), **said} for one in change_ids])


def switched_on(
    home: Home, kinds: Sequence[AlertKind], today: date, *, remember: bool
) -> dict[AlertKind, date]:
    """Each kind that is on -> the first day it tells of, the day it was switched on.

    Old news of a kind that was just switched on wakes nobody. Status changes are on from the
    start and tell of all days, unless they were off in between.
    """
    since: dict[AlertKind, date] = {"status": date.min}
    known: list[str] = ["status"]
    for line in lines(home.deliveries):
        if isinstance(line.get("kinds"), list):
            with suppress(KeyError, ValueError, TypeError):
                day = date.fromisoformat(line["day"])
                known = [str(one) for one in line["kinds"]]
                since = _moved_on(since, known, day)
    if set(known) != set(kinds):
        since = _moved_on(since, kinds, today)
        if remember and (home.far or home.root.is_dir()):
            append(
                home.deliveries, [{"kinds": sorted(kinds), "day": today.isoformat(), "at": now()}]
            )
    return since


def _moved_on(
    since: dict[AlertKind, date], kinds: Sequence[str], day: date
) -> dict[AlertKind, date]:
    return {one: since.get(one, day) for one in kinds}  # type: ignore[misc, call-overload]


def _deliveries(home: Home) -> Iterator[dict[str, str]]:
    for line in lines(home.deliveries):
        if isinstance(line.get("change_id"), str):
            yield line
