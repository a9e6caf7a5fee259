"""`sf-assets doctor`: one line per check, with what to do if it fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import duckdb

from sf_assets import __version__
from sf_assets.cli.common import CheckList
from sf_assets.cli.tables import print_json
from sf_assets.errors import SettingsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.ingest.client import client_of
from sf_assets.ingest.days import MissingDay, last_heartbeat, missing_days
from sf_assets.ingest.probe import kept
from sf_assets.settings import Settings, load_settings, misspelt_variables
from sf_assets.social_fetch import (
    AccountError,
    Balance,
    SocialFetchClient,
    SocialFetchError,
    User,
)
from sf_assets.social_fetch.lean_httpx import httpx
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
SPANS_SHOWN = 5


class Problem(Exception):
    """A failed check, with what to do; `refused` if the API rejected the key or has no credits."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


def run_doctor(*, quiet: bool = False, as_json: bool = False) -> int:
    """Print every check. Returns the exit code: 0, 1 (a check failed), 2 (settings), 3 (API)."""
    checks = CheckList(quiet=quiet, as_json=as_json)
    code = run_checks(checks.add)
    if as_json:
        print_json(checks.results)
    return code


def run_checks(add: Callable[[str, bool, str], None]) -> int:
    """Pass name, success and text of each check to `add`. Returns the exit code of `doctor`."""
    try:
        settings = load_settings()
    except SettingsError as error:
        add("settings", False, str(error))
        return 2
    misspelt = misspelt_variables(os.environ)
    if misspelt:
        add("settings", False, f"unknown variable {', '.join(misspelt)}: correct the name")
    else:
        add("settings", True, f"sf_assets {__version__}, {settings.base_url}, day {settings.day()}")
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
            add(name, True, check(settings, home))
        except Problem as problem:
            add(name, False, str(problem))
            code = 3 if problem.refused else max(code, 1)
        except SettingsError as error:
            add(name, False, str(error))
            code = max(code, 2)
    return code


def _key(settings: Settings, home: Home) -> str:
    async def ask() -> User:
        async with client_of(settings, max_tries=2, max_wait=5) as client:
            return await client.whoami()

    user = _answer_of(ask)
    return f"belongs to {user.name or user.email or user.id or 'an account without a name'}"


def _balance(settings: Settings, home: Home) -> str:
    if settings.key() is None and not settings.simulated:
        raise SettingsError("not checked: no key is set")

    async def ask() -> Balance:
        async with client_of(settings, max_tries=2, max_wait=5) as client:
            return await client.balance()

    left = _answer_of(ask).balance
    if left == 0:
        raise Problem("0 credits left: top up before the next run", refused=True)
    size = (kept(home) or {}).get("page_size") or 20
    return (
        f"{counted(left, 'credit')} left; a page of about {size} accounts costs 1"
        f"{_spent(home, left)}"
    )


def _spent(home: Home, left: int) -> str:
    """The cost of the last run, and credits spent since then that no run explains."""
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
    text = f"; the last run ({day}) cost {credits:,}, {unexplained:,} unexplained"
    return text + (f"; {since:,} spent elsewhere since then" if since > 0 else "")


def _answer_of(ask: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
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
        api_time = asyncio.run(ask())
    except SocialFetchError:
        return "not compared: the API did not answer"
    if api_time is None:
        return "not compared: the API sent no time"
    skew = abs((datetime.now(timezone.utc) - api_time).total_seconds())
    if skew > MAX_SKEW_SECONDS:
        raise Problem(
            f"{skew:.0f} s off the API's clock: snapshots could get the wrong UTC day; set up NTP"
        )
    return f"within {skew:.0f} s of the API's clock"


def _home(settings: Settings, home: Home) -> str:
    start = home.start_date(settings)
    if not home.root.exists():
        return f"{home.root} does not exist yet; the first use creates it"
    if home.marker.exists() or not home.root.is_dir():
        home.ensure(settings)  # raises if something is wrong; there is nothing to create
    elif not os.access(home.root, os.W_OK | os.X_OK):
        raise SettingsError(f"SF_ASSETS_HOME: {home.root} is not writable; change its permissions")
    left = home.root / "handles.yaml"
    unread = f"; {left} is ignored, {home.registry} is used" if home.far and left.exists() else ""
    return f"{home}, first day {start}{unread}"


def _disk(settings: Settings, home: Home) -> str:
    disk = sizes(home, settings.day())
    text = f"{disk.free / 1024**3:.0f} GiB free; {disk}"
    if disk.free < MIN_FREE_BYTES:
        raise Problem(
            f"only {disk.free / 1024**3:.1f} GiB free at {home.root}: free some space; {disk}"
        )
    if disk.days_left is not None and disk.days_left < MIN_DAYS_LEFT:
        raise Problem(f"{text}. Free some space, or set `retention:` in handles.yaml")
    return text


def _handles(settings: Settings, home: Home) -> str:
    registry, problem = registry_in_force(home.registry, keep=False)
    if problem is not None:
        raise SettingsError(problem)
    tracked = registry.handles
    if not tracked:
        raise Problem("no handle is tracked yet; run: sf-assets track HANDLE")
    return f"{len(tracked)} tracked"


def _duckdb(settings: Settings, home: Home) -> str:
    try:
        with reading(home.readable) as con:
            days, last = con.execute(
                "SELECT count(DISTINCT snapshot_date), max(snapshot_date) FROM snapshots"
            ).fetchall()[0]
    except FileNotFoundError:
        return f"{duckdb.__version__}; nothing is published yet; the first snapshot publishes"
    except duckdb.Error as error:
        raise Problem(why_unreadable(home.readable, error)) from None
    return f"{duckdb.__version__}; {counted(days, 'day')} published, up to {last}"


def _days(settings: Settings, home: Home) -> str:
    """Recent days with missing lists, and why."""
    missing = missing_days(home, settings, registry_in_force(home.registry, keep=False)[0])
    if not missing:
        return "no due list is missing"
    newest = max((gap.day for gap in missing if not gap.capped), default=None)
    spans: list[list[MissingDay]] = []
    for gap in missing:
        after = spans and gap.day == spans[-1][-1].day + timedelta(days=1)
        if after and gap.what == spans[-1][-1].what:
            spans[-1].append(gap)
        else:
            spans.append([gap])
    gaps = "; ".join(
        f"{days[0].day} to {days[-1].day}, each day: {days[0].what}"
        if len(days) > 1
        else str(days[0])
        for days in reversed(spans[-SPANS_SHOWN:])
    )
    if earlier := sum(map(len, spans[:-SPANS_SHOWN])):
        gaps += f"; and {counted(earlier, 'earlier day')}"
    if newest is not None and newest == settings.day():
        raise Problem(f"unfinished {gaps}. While sf-assets up runs, it retries until midnight UTC")
    text = f"missing {gaps}. The next snapshot is compared across the gap"
    if newest == settings.day() - timedelta(days=1):
        raise Problem(f"{text}; keep sf-assets up running all day")
    return text


def _vendor(settings: Settings, home: Home) -> str:
    """What the last probe measured that differs from our assumptions."""
    result = kept(home)
    if result is None:
        return "not probed yet; run: sf-assets probe HANDLE (at most 8 credits)"
    facts = [
        f"{fact['fact']}: {fact['found']}" for fact in result["facts"] if not fact["as_assumed"]
    ]
    text = one_line("; ".join(facts)) if facts else "as assumed"
    return f"probed on {result['day']} with @{result['handle']}: {text}"


def _heartbeat(settings: Settings, home: Home) -> str:
    """Whether the last call succeeded. Makes no call: a call means that a day is complete."""
    assert settings.heartbeat_url is not None
    try:
        route_to(httpx.URL(settings.heartbeat_url.get_secret_value().strip()))
    except httpx.InvalidURL:
        raise SettingsError("SF_ASSETS_HEARTBEAT_URL: not a valid URL") from None
    call = last_heartbeat(home)
    if call is None:
        return "not called yet: sf-assets up calls it after each complete day"
    day, problem = call
    if problem:
        raise Problem(f"the call for {day} failed ({problem}); sf-assets up retries it")
    return f"called after {day}, the last complete day"


def _grid(settings: Settings, home: Home) -> str:
    days = (settings.day() - home.start_date(settings)).days + 1
    handles = len(registry_in_force(home.registry, keep=False)[0].handles)
    keys = days * handles
    size = f"{counted(keys, 'partition')} ({counted(days, 'day')} x {counted(handles, 'handle')})"
    if keys > MAX_GRID_KEYS:
        raise Problem(
            f"{size}; over {MAX_GRID_KEYS:,} the UI gets slow: set SF_ASSETS_GRID_DAYS to the days "
            "to show. Stored data is kept"
        )
    return size


def _alerts(settings: Settings, home: Home) -> str:
    kinds = f"enabled kinds: {', '.join(settings.alerts) or 'none'}"
    registry = registry_in_force(home.registry, keep=False)[0]
    of_tags = {*registry.alerts.addresses, *(registry.alerts.tags or ())}
    unused = sorted(of_tags - set(registry.tags_of(registry.handles)))
    if unused:
        raise Problem(f"{kinds}; `alerts:` lists tags that no handle has: {', '.join(unused)}")
    if not settings.alert_urls and not registry.alerts.addresses:
        return f"{kinds}; shown in log and UI only: SF_ASSETS_ALERT_URLS is not set"
    from sf_assets.alerts import DeliveryFailed, services

    try:
        names = services(settings, registry)
    except DeliveryFailed as error:
        raise SettingsError(str(error)) from None
    return f"{kinds}; sent to {', '.join(names)}; test with: sf-assets alerts test"
