"""The lists of a day: which are unfinished and why, which days lack lists, when a day is complete.

The tables show what is missing. `days.jsonl` of the home has the reasons: each run notes there
which lists it did not finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal

import duckdb

from sf_assets.credits.meter import meter_of
from sf_assets.errors import SettingsError, SfAssetsError
from sf_assets.handles.settings import Registry
from sf_assets.model import Relation, SnapshotKey
from sf_assets.settings import Settings
from sf_assets.social_fetch.lean_httpx import httpx
from sf_assets.social_fetch.route import route_to
from sf_assets.storage.home import Home
from sf_assets.storage.jsonl import append, lines
from sf_assets.storage.landing import Landing, spent_on
from sf_assets.storage.landings import landing_of
from sf_assets.storage.records import Landed, LandingDamaged, now
from sf_assets.warehouse.connection import locked, reading
from sf_assets.warehouse.statements import sql

# Unreadable responses are charged. A list with this many of them, and no more pages, is not retried
# automatically on that day.
UNREADABLE_MOST = 5
# How many days landed pages wait to be loaded, and for how many days missing lists are reported.
DAYS_BACK = 30
REASONS = 5
HEARTBEAT_SECONDS = 10.0
HEARTBEAT_PAUSE = timedelta(minutes=10)

# `capped` lists got no page because our own caps were reached, which is not a failure.
Trouble = Literal["failed", "capped"]


@dataclass(frozen=True)
class Note:
    """Why a run left lists of a day unfinished.

    `outage` is the number of the outage on that day. When all its lists are stored, the next
    failure begins another one.
    """

    kind: Trouble
    day: date
    run_id: str
    lists: tuple[SnapshotKey, ...]
    reasons: tuple[str, ...]
    outage: int = 1


@dataclass(frozen=True)
class MissingDay:
    """A day on which some due lists are not stored.

    `capped` means that our own caps left no page for any of them, so nothing went wrong.
    """

    day: date
    due: int
    missing: tuple[SnapshotKey, ...]
    reasons: tuple[str, ...]
    capped: bool = False

    def __str__(self) -> str:
        return f"{self.day}: {self.what}"

    @property
    def what(self) -> str:
        """How many lists are missing, and why."""
        return f"{len(self.missing)} of {self.due} lists ({'; '.join(self.reasons)})"


def stored_lists(
    con: duckdb.DuckDBPyConnection, since: date, handles: Collection[str] | None = None
) -> dict[SnapshotKey, str | None]:
    """The stored lists from `since` on -> their `end_reason`."""
    parameters = [since, None if handles is None else sorted(handles)]
    return {
        SnapshotKey(day, handle, relation): end_reason
        for relation, handle, day, end_reason in con.execute(
            sql("stored_lists"), parameters
        ).fetchall()
    }


def not_stored(home: Home, registry: Registry, day: date) -> dict[SnapshotKey, bool]:
    """The unfinished due lists of a day -> whether a part is stored (credits ran out)."""
    stored = _stored(home, day)
    return {key: key in stored for key in registry.lists_due(day) if not _is_whole(stored, key)}


def _is_whole(stored: Mapping[SnapshotKey, str | None], key: SnapshotKey) -> bool:
    return stored.get(key, "out_of_credits") != "out_of_credits"


def worth_a_try(
    home: Home, settings: Settings, registry: Registry, left: Mapping[SnapshotKey, bool]
) -> list[SnapshotKey]:
    """The lists in `left` that another attempt may finish or load.

    This includes lists that the API rejected for missing credits or the key, because a rejection is
    free. It excludes lists that our own caps cut or skipped, and lists with many responses that
    break the contract, because each of those costs a credit.
    """
    if not left:
        return []
    landing = landing_of(home)
    spent = _Spent(settings, registry, landing, next(iter(left)).day)
    return [
        key
        for key, landed in landing.read_each(left)
        if _is_loadable(landed, stored=left[key])
        or not (spent.on(key.handle) or _breaks_the_contract(landed))
    ]


def unfinished(home: Home, settings: Settings, registry: Registry, day: date) -> list[SnapshotKey]:
    """The due lists of a day that another attempt may finish or load."""
    return worth_a_try(home, settings, registry, not_stored(home, registry, day))


def _is_loadable(landed: Landed | LandingDamaged | None, *, stored: bool) -> bool:
    return isinstance(landed, Landed) and landed.to_load is not None and not stored


def _breaks_the_contract(landed: Landed | LandingDamaged | None) -> bool:
    if not isinstance(landed, Landed):
        return False
    unreadable = sum(attempt.unread for attempt in landed.attempts)
    pages = sum(attempt.pages for attempt in landed.attempts)
    return unreadable >= max(UNREADABLE_MOST, pages)


class _Spent:
    """Whether our own caps leave anything for a handle on a day."""

    def __init__(self, settings: Settings, registry: Registry, landing: Landing, day: date) -> None:
        self._day, self._registry, self._landing = day, registry, landing
        cap = settings.daily_credits
        self._whole_day = (
            cap is not None
            and meter_of(landing.meter(day), lambda: spent_on(landing, day)).count >= cap
        )

    def on(self, handle: str) -> bool:
        cap = self._registry.settings_of(handle).daily_credits
        return self._whole_day or (
            cap is not None
            and meter_of(self._landing.meter(self._day, handle), lambda: 0).count >= cap
        )


def landed_not_loaded(home: Home, settings: Settings) -> list[SnapshotKey]:
    """Lists of earlier days that were read and are not in the tables."""
    today = settings.day()
    since = today - timedelta(days=DAYS_BACK)
    landing = landing_of(home)
    stored = _stored(home, since)
    landed = (
        key
        for day in landing.days()
        if since <= day < today
        for key in landing.keys(day)
        if key not in stored
    )
    return [
        key
        for key, found in landing.read_each(landed)
        if isinstance(found, Landed) and found.to_load is not None
    ]


def _stored(home: Home, since: date) -> dict[SnapshotKey, str | None]:
    """The stored lists; empty if the published file cannot be read, as a run will republish it."""
    try:
        with reading(home.readable) as con:
            return stored_lists(con, since)
    except (FileNotFoundError, SfAssetsError, duckdb.Error):
        return {}


def note(
    home: Home,
    kind: Trouble,
    run_id: str,
    why: Mapping[SnapshotKey, str | None],
    registry: Registry,
) -> None:
    """Record the lists that a run left unfinished, per day, and the first few reasons.

    Skips lists that are stored, which a refresh could not read again.
    """
    for day in sorted({key.day for key in why}):
        stored = _stored(home, day)
        left = {key: why[key] for key in sorted(why) if key.day == day}
        left = {key: reason for key, reason in left.items() if not _is_whole(stored, key)}
        if not left:
            continue
        entry = {
            "kind": kind,
            "day": str(day),
            "run_id": run_id,
            "lists": [f"{key.handle} {key.relation}" for key in left],
            "reasons": list(dict.fromkeys(filter(None, left.values())))[:REASONS],
            "outage": _number_of_outage(home, day, stored, registry),
            "at": now(),
        }
        append(home.days, [entry])


def _number_of_outage(
    home: Home, day: date, stored: Mapping[SnapshotKey, str | None], registry: Registry
) -> int:
    """The outage of the day to which a failure belongs: the last one, unless it is over."""
    before = [one for one in notes(home) if one.day == day and one.kind == "failed"]
    last = max((one.outage for one in before), default=1)
    waiting = [
        key
        for one in before
        if one.outage == last
        for key in one.lists
        if not _is_whole(stored, key) and registry.due(key.handle, key.relation, day)
    ]
    return last if waiting or not before else last + 1


def notes(home: Home) -> list[Note]:
    """All recorded notes, oldest first."""
    found = []
    for line in lines(home.days):
        with suppress(KeyError, ValueError, TypeError, AttributeError):
            if line["kind"] in ("failed", "capped"):
                day = date.fromisoformat(line["day"])
                keys = tuple(_key(day, *name.split()) for name in line["lists"])
                reasons = tuple(str(reason) for reason in line["reasons"])
                outage = int(line.get("outage", 1))
                found.append(Note(line["kind"], day, str(line["run_id"]), keys, reasons, outage))
    return found


def _key(day: date, handle: str, relation: Relation) -> SnapshotKey:
    return SnapshotKey(day, handle, relation)


def missing_days(home: Home, settings: Settings, registry: Registry) -> list[MissingDay]:
    """The last DAYS_BACK days that lack lists of tracked handles, oldest first, with reasons.

    A list is expected after its first snapshot, and if a run failed to read it. Today's lists count
    as missing only after a run failed.
    """
    today = settings.day()
    since = max(home.start_date(settings), today - timedelta(days=DAYS_BACK))
    stored, first = _stored(home, since), _first_days(home)
    noted = {key: one for one in notes(home) if one.day >= since for key in one.lists}
    found = []
    for back in range((today - since).days, -1, -1):
        day = today - timedelta(days=back)
        due = registry.lists_due(day)
        expected = [
            key
            for key in due
            if key in noted
            or key in stored
            or (day < today and first.get((key.relation, key.handle), today) < day)
        ]
        missing = [key for key in expected if key not in stored]
        reasons = [reason for key in missing if key in noted for reason in noted[key].reasons]
        if any(key not in noted for key in missing):
            reasons.append(
                "no run read them; was the daemon running?"
                if len(missing) == len(expected)
                else "the run ended before it read them"
            )
        if missing:
            shown = tuple(dict.fromkeys(reasons))[:REASONS]
            capped = all(key in noted and noted[key].kind == "capped" for key in missing)
            found.append(MissingDay(day, len(due), tuple(missing), shown, capped))
    return found


def _first_days(home: Home) -> dict[tuple[Relation, str], date]:
    try:
        with reading(home.readable) as con:
            rows = con.execute(sql("first_days")).fetchall()
    except (FileNotFoundError, SfAssetsError, duckdb.Error):
        return {}
    return {(relation, handle): day for relation, handle, day in rows}


def tell_heartbeat(home: Home, settings: Settings, registry: Registry, day: date) -> str | None:
    """Call SF_ASSETS_HEARTBEAT_URL once a day, when all due lists of the day are finished.

    Returns the reason of a failed call, `""` after a successful one, and None if no call was due.
    After a failure, a later call tries again. Raises OSError if the home cannot be written.
    """
    url = settings.heartbeat_url
    if url is None or not registry.handles:
        return None
    with locked(home.days, HEARTBEAT_SECONDS * 2):
        calls = [line for line in lines(home.days) if line.get("heartbeat") == str(day)]
        if calls and (calls[-1].get("taken") or not _long_ago(calls[-1])):
            return None
        if unfinished(home, settings, registry, day):
            return None
        with ThreadPoolExecutor(1) as thread:  # the caller's thread may run an event loop
            problem = thread.submit(_get, url.get_secret_value()).result()
        call = {"heartbeat": str(day), "taken": not problem, "problem": problem, "at": now()}
        append(home.days, [call])
    return problem


def _long_ago(call: Mapping[str, Any]) -> bool:
    with suppress(KeyError, ValueError, TypeError):
        at = datetime.fromisoformat(call["at"].replace("Z", "+00:00"))
        return datetime.now(timezone.utc) - at >= HEARTBEAT_PAUSE
    return True


def last_heartbeat(home: Home) -> tuple[date, str] | None:
    """The day of the last heartbeat and the reason if it failed, else `""`; None before any."""
    call = None
    for line in lines(home.days):
        with suppress(KeyError, ValueError, TypeError):
            why = "" if line["taken"] else str(line.get("problem") or "unknown reason")
            call = date.fromisoformat(line["heartbeat"]), why
    return call


def _get(url: str) -> str:
    """Call a URL; returns the reason of a failure, without the URL, which may hold tokens."""
    url = url.strip()
    try:
        route = route_to(httpx.URL(url))
    except SettingsError as error:
        return str(error)
    except httpx.InvalidURL:
        return "it is not a URL"

    async def ask() -> str:
        async with (
            httpx.AsyncClient(
                proxy=route.proxy, verify=route.context, trust_env=False, follow_redirects=True
            ) as client,
            client.stream("GET", url) as answer,
        ):
            return "" if answer.is_success else f"HTTP {answer.status_code}"

    def has_no_address(record: logging.LogRecord) -> bool:
        return url not in record.getMessage()

    log = logging.getLogger("httpx")
    log.addFilter(has_no_address)
    try:
        return asyncio.run(asyncio.wait_for(ask(), HEARTBEAT_SECONDS))
    except asyncio.TimeoutError:
        why = f"no response within {HEARTBEAT_SECONDS:g} seconds"
    except Exception as error:  # a heartbeat must not fail a run
        refused = isinstance(error, httpx.ConnectError)
        why = "no connection" if refused else type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            why = f"{route.certificates} does not trust its certificate"
    finally:
        log.removeFilter(has_no_address)
    through = f", through the proxy in {route.proxy_variable}" if route.proxy else ""
    return why + through


@dataclass(frozen=True)
class Outage:
    """Lists, by handle and relation, that began to fail on the same day, and when it was over.

    `number` is the number of the outage on that day. `healed_on` is None while it lasts.
    """

    day: date
    number: int
    lists: tuple[tuple[str, Relation], ...]
    reasons: tuple[str, ...]
    healed_on: date | None


def outages(
    noted: Iterable[Note], stored: Mapping[SnapshotKey, str | None], registry: Registry
) -> list[Outage]:
    """All outages, oldest first.

    A list fails until it is stored completely again or no longer tracked.
    """
    good: dict[tuple[str, Relation], list[date]] = {}
    for key, end_reason in stored.items():
        if end_reason != "out_of_credits":
            good.setdefault((key.handle, key.relation), []).append(key.day)
    since: dict[tuple[str, Relation], tuple[date, int]] = {}
    lists: dict[tuple[date, int], dict[tuple[str, Relation], date | None]] = {}
    reasons: dict[tuple[date, int], dict[str, None]] = {}
    for one in noted:
        for key in one.lists if one.kind == "failed" else ():
            which = key.handle, key.relation
            began = since.get(which)
            whole = good.get(which, ())
            if began is None or any(began[0] <= day < key.day for day in whole):
                began = since[which] = key.day, one.outage
            over = min((day for day in whole if day >= began[0]), default=None)
            lists.setdefault(began, {})[which] = over
            if began == (key.day, one.outage):
                reasons.setdefault(began, {}).update(dict.fromkeys(one.reasons))
    found = []
    for (day, number), ends in sorted(lists.items()):
        healed = [
            over
            for (handle, relation), over in ends.items()
            if over is not None
            or (handle in registry.handles and relation in registry.settings_of(handle).relations)
        ]
        ended = [over for over in healed if over is not None]
        found.append(
            Outage(
                day,
                number,
                tuple(ends),
                tuple(reasons.get((day, number), {}))[:REASONS],
                max(ended) if ended and len(ended) == len(healed) else None,
            )
        )
    return found
