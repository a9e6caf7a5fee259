"""`sf-assets doctor`: one line a check, and what to do about it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import duckdb
import httpx

from sf_assets import __version__
from sf_assets.cli.common import CheckList
from sf_assets.cli.tables import print_json
from sf_assets.errors import SettingsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.ingest.client import client_of
from sf_assets.ingest.days import last_heartbeat, missing_days
from sf_assets.ingest.probe import kept
from sf_assets.settings import Settings, load_settings, misspelt_variables
from sf_assets.social_fetch import (
    AccountError,
    Balance,
    SocialFetchClient,
    SocialFetchError,
    User,
)
from sf_assets.social_fetch.route import route_to
from sf_assets.storage.home import Home
from sf_assets.storage.sizes import sizes
from sf_assets.text import counted, one_line
from sf_assets.warehouse.connection import reading, why_unreadable

_Answer = TypeVar("_Answer")

MIN_FREE_BYTES = 2 * 1024**3
MIN_DAYS_LEFT = 14
MAX_GRID_KEYS = 100_000
MAX_SKEW_SECONDS = 120
DAYS_SHOWN = 5


class Problem(Exception):
    """A check that failed, with what to do; `refused` where the vendor said no."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


def run_doctor(*, quiet: bool = False, as_json: bool = False) -> int:
    """Print every check; exit code 0, 1 (something is wrong), 2 (settings), 3 (vendor)."""
    checks = CheckList(quiet=quiet, as_json=as_json)
    code = checked(checks.say)
    if as_json:
        print_json(checks.said)
    return code


def checked(say: Callable[[str, bool, str], None]) -> int:
    """Say how each check ended; the exit code of `doctor`."""
    try:
        settings = load_settings()
    except SettingsError as error:
        say("settings", False, str(error))
        return 2
    misspelt = [f"{name} ({meant}?)" for name, meant in misspelt_variables(os.environ).items()]
    if misspelt:
        say("settings", False, f"nothing reads {', '.join(misspelt)}: correct the name")
    else:
        say("settings", True, f"sf_assets {__version__}, {settings.base_url}, day {settings.day()}")
    home = Home.of(settings)
    checks: list[tuple[str, Callable[[Settings, Home], str]]] = [
        ("key", _key),
        ("balance", _balance),
        ("clock", _clock),
        ("home", _home),
        ("disk", _disk),
        ("handles", _handles),
        ("duckdb", _duckdb),
        ("days", _days),
        ("grid", _grid),
        ("alerts", _alerts),
        ("vendor", _vendor),
    ]
    if settings.heartbeat_url is not None:
        checks.append(("heartbeat", _heartbeat))
    code = 2 if misspelt else 0
    for name, check in checks:
        try:
            say(name, True, check(settings, home))
        except Problem as problem:
            say(name, False, str(problem))
            code = 3 if problem.refused else max(code, 1)
        except SettingsError as error:
            say(name, False, str(error))
            code = max(code, 2)
    return code


def _key(settings: Settings, home: Home) -> str:
    async def ask() -> User:
        async with client_of(settings, max_tries=2, max_wait=5) as client:
            return await client.whoami()

    user = _asked(ask)
    return f"belongs to {user.name or user.email or user.id or 'an account without a name'}"


def _balance(settings: Settings, home: Home) -> str:
    if settings.key() is None and not settings.simulated:
        raise SettingsError("not asked for: there is no key")

    async def ask() -> Balance:
        async with client_of(settings, max_tries=2, max_wait=5) as client:
            return await client.balance()

    left = _asked(ask).balance
    if left == 0:
        raise Problem("0 credits left: top up before the next run", refused=True)
    size = (kept(home) or {}).get("page_size") or 20
    return (
        f"{counted(left, 'credit')} left; a page of about {size} accounts costs 1"
        f"{_spent(home, left)}"
    )


def _spent(home: Home, left: int) -> str:
    """What the last run cost, and what is gone that no run accounts for."""
    try:
        with reading(home.readable) as con:
            last = con.execute(
                "SELECT snapshot_date, credits, unexplained, balance_after FROM credit_balances "
                "ORDER BY asked_at DESC LIMIT 1"
            ).fetchone()
            landed = con.execute(
                "SELECT coalesce(sum(credits), 0) FROM credit_ledger WHERE started_at > "
                "(SELECT max(asked_at) FROM credit_balances)"
            ).fetchall()[0][0]
    except (FileNotFoundError, duckdb.Error):
        return ""
    if last is None:
        return ""
    day, credits, unexplained, after = last
    since = after - left - landed
    said = f"; the last run ({day}) paid {credits:,}, {unexplained:,} unexplained"
    return said + (f"; {since:,} gone since then" if since > 0 else "")


def _asked(ask: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
    try:
        return asyncio.run(ask())
    except SocialFetchError as error:
        raise Problem(str(error), refused=isinstance(error, AccountError)) from None


def _clock(settings: Settings, home: Home) -> str:
    async def ask() -> datetime | None:
        async with SocialFetchClient(
            api_key=None, base_url=settings.base_url, max_tries=1, deadline=10
        ) as client:
            return await client.clock()

    try:
        there = asyncio.run(ask())
    except SocialFetchError:
        there = None
    if there is None:
        return "the API told no time to compare with"
    skew = abs((datetime.now(timezone.utc) - there).total_seconds())
    if skew > MAX_SKEW_SECONDS:
        raise Problem(
            f"{skew:.0f} s off the API's: snapshots could fall on the wrong UTC day; set up NTP"
        )
    return f"within {skew:.0f} s of the API's"


def _home(settings: Settings, home: Home) -> str:
    start = home.start_date(settings)
    if not home.root.exists():
        return f"{home.root} will be made on first use"
    if home.marker.exists() or not home.root.is_dir():
        home.ensure(settings)  # tells what is wrong; there is nothing left to make
    elif not os.access(home.root, os.W_OK | os.X_OK):
        raise SettingsError(f"SF_ASSETS_HOME: {home.root} cannot be written: give permission")
    left = home.root / "handles.yaml"
    unread = f"; {left} is not read, {home.registry} is" if home.far and left.exists() else ""
    return f"{home}, first day {start}{unread}"


def _disk(settings: Settings, home: Home) -> str:
    found = sizes(home, settings.day())
    said = f"{found.free / 1024**3:.0f} GiB free; {found}"
    if found.free < MIN_FREE_BYTES:
        raise Problem(
            f"only {found.free / 1024**3:.1f} GiB free at {home.root}: make room; {found}"
        )
    if found.days_left is not None and found.days_left < MIN_DAYS_LEFT:
        raise Problem(f"{said}. Make room, or keep less: `retention:` in handles.yaml")
    return said


def _handles(settings: Settings, home: Home) -> str:
    registry, wrong = registry_in_force(home.registry, keep=False)
    if wrong is not None:
        raise SettingsError(wrong)
    tracked = registry.handles
    if not tracked:
        raise Problem("none is tracked yet: sf-assets track HANDLE")
    return f"{len(tracked)} tracked"


def _duckdb(settings: Settings, home: Home) -> str:
    try:
        with reading(home.readable) as con:
            days, last = con.execute(
                "SELECT count(DISTINCT snapshot_date), max(snapshot_date) FROM snapshots"
            ).fetchall()[0]
    except FileNotFoundError:
        return f"{duckdb.__version__}; nothing is published yet: it comes with the first snapshot"
    except duckdb.Error as error:
        raise Problem(why_unreadable(home.readable, error)) from None
    return f"{duckdb.__version__}; {counted(days, 'day')} published, the last is {last}"


def _days(settings: Settings, home: Home) -> str:
    """Which of the last days lack lists, and why."""
    missing = missing_days(home, settings, registry_in_force(home.registry, keep=False)[0])
    if not missing:
        return "no list that was due is missing"
    newest = max((one.day for one in missing if not one.capped), default=None)
    told = "; ".join(str(one) for one in reversed(missing[-DAYS_SHOWN:]))
    told += (
        f"; and {counted(len(missing) - DAYS_SHOWN, 'day')} before" if missing[DAYS_SHOWN:] else ""
    )
    if newest is not None and newest == settings.day():
        raise Problem(
            f"unfinished {told}. It is tried again until midnight (UTC) while sf-assets up runs"
        )
    said = f"missing {told}. The next snapshot is compared across the gap"
    if newest == settings.day() - timedelta(days=1):
        raise Problem(f"{said}; see that sf-assets up runs all day")
    return said


def _vendor(settings: Settings, home: Home) -> str:
    """What the last probe found otherwise than it is assumed."""
    told = kept(home)
    if told is None:
        return "not probed yet: sf-assets probe HANDLE (at most 8 credits)"
    other = [f"{one['fact']}: {one['found']}" for one in told["facts"] if not one["as_assumed"]]
    said = one_line("; ".join(other)) if other else "as assumed"
    return f"probed on {told['day']} with @{told['handle']}: {said}"


def _heartbeat(settings: Settings, home: Home) -> str:
    """Whether the last call was taken; none is made here, for it would tell of a complete day."""
    assert settings.heartbeat_url is not None
    try:
        route_to(httpx.URL(settings.heartbeat_url.get_secret_value().strip()))
    except httpx.InvalidURL:
        raise SettingsError("SF_ASSETS_HEARTBEAT_URL: it is no address") from None
    call = last_heartbeat(home)
    if call is None:
        return "no call yet: one follows each complete day"
    day, problem = call
    if problem:
        raise Problem(f"the call for {day} was not taken ({problem}); sf-assets up tries again")
    return f"the last call told that {day} is complete"


def _grid(settings: Settings, home: Home) -> str:
    days = (settings.day() - home.start_date(settings)).days + 1
    handles = len(registry_in_force(home.registry, keep=False)[0].handles)
    keys = days * handles
    size = f"{counted(keys, 'partition')} ({counted(days, 'day')} x {counted(handles, 'handle')})"
    if keys > MAX_GRID_KEYS:
        raise Problem(
            f"{size}; over {MAX_GRID_KEYS:,} the UI gets slow: set SF_ASSETS_GRID_DAYS to the days "
            "it is to show, what is stored stays"
        )
    return size


def _alerts(settings: Settings, home: Home) -> str:
    kinds = f"kinds that are on: {', '.join(settings.alerts) or 'none'}"
    registry = registry_in_force(home.registry, keep=False)[0]
    of_tags = {*registry.alerts.addresses, *(registry.alerts.tags or ())}
    unused = sorted(of_tags - set(registry.tags_of(registry.handles)))
    if unused:
        raise Problem(f"{kinds}; `alerts:` names tags that no handle has: {', '.join(unused)}")
    if not settings.alert_urls and not registry.alerts.addresses:
        return f"{kinds}; in log and UI only: SF_ASSETS_ALERT_URLS is not set"
    from sf_assets.alerts import DeliveryFailed, services

    try:
        found = services(settings, registry)
    except DeliveryFailed as error:
        raise SettingsError(str(error)) from None
    return f"{kinds}; told to {', '.join(found)}; try it with sf-assets alerts test"
