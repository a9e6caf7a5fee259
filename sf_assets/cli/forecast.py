"""`sf-assets forecast`: what the tracked lists, or another handle, will cost."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import click
import duckdb

from sf_assets.cli.common import registry_of
from sf_assets.cli.tables import print_table
from sf_assets.credits.budget import Budget
from sf_assets.credits.estimate import Cost, costs_before
from sf_assets.credits.forecast import (
    Forecast,
    ListForecast,
    first_page_forecast,
    forecast,
)
from sf_assets.credits.meter import DayMeter
from sf_assets.errors import SettingsError
from sf_assets.handles.privacy import door_of
from sf_assets.handles.settings import Registry, normalise_handle
from sf_assets.ingest import preflight
from sf_assets.ingest.client import client_of
from sf_assets.ingest.reader import ListToRead, RunContext, first_page
from sf_assets.ingest.run_budget import ask_balance
from sf_assets.model import SnapshotKey
from sf_assets.settings import Settings
from sf_assets.social_fetch import (
    AccountError,
    ListWalk,
    LookupStatus,
    SocialFetchError,
)
from sf_assets.storage.home import Home
from sf_assets.storage.landing import spent_on
from sf_assets.storage.landings import landing_at
from sf_assets.text import counted
from sf_assets.warehouse.connection import reading, why_unreadable

_COLUMNS = (
    *("handle", "relation", "depth", "pages", "paid", "credits"),
    *("if_full", "if_recent", "recent_saves"),
)


def run_forecast(
    settings: Settings,
    home: Home,
    days: int,
    handle: str | None,
    tags: Sequence[str] = (),
    *,
    as_json: bool,
    yes: bool,
) -> int:
    """Print the forecast. Returns the exit code. Raises SettingsError if no handle is tracked."""
    registry = registry_of(home)
    wanted = normalise_handle(handle) if handle else None
    if wanted is not None and wanted not in registry.handles:
        closest = registry.closest(wanted)
        hint = f" (did you mean {closest}?)" if closest else ""
        return _of_untracked(settings, home, wanted, hint, days, as_json=as_json, yes=yes)
    if wanted is not None:
        registry = Registry({wanted: registry.handles[wanted]})
    if tags:
        registry = Registry({each: registry.handles[each] for each in registry.tagged(tags)})
    if not registry.handles:
        raise SettingsError("no handle is tracked yet; run: sf-assets track HANDLE")
    first = settings.day() + timedelta(days=1)
    costs, paid = _past_costs(home, first, days)
    prediction = forecast(
        registry,
        costs,
        paid,
        first=first,
        days=days,
        balance=ask_balance(settings),
        cap=settings.daily_credits,
    )
    if as_json:
        click.echo(json.dumps(_as_json(prediction), indent=2))
    else:
        print_table(_COLUMNS, [_row(each) for each in prediction.lists])
        click.echo(_summary(prediction))
    return 0


def _past_costs(
    home: Home, first: date, days: int
) -> tuple[dict[tuple[str, str], Cost], dict[tuple[str, str], int]]:
    try:
        with reading(home.readable) as con:
            paid = con.execute(
                "SELECT relation, handle, CAST(sum(credits) AS BIGINT) FROM credit_ledger "
                "WHERE snapshot_date BETWEEN ? AND ? GROUP BY ALL",
                [first - timedelta(days=days), first],
            ).fetchall()
            return costs_before(con, first), {(row[0], row[1]): row[2] for row in paid}
    except FileNotFoundError:
        return {}, {}
    except duckdb.Error as error:
        raise SettingsError(why_unreadable(home.readable, error)) from None


def _row(prediction: ListForecast) -> list[Any]:
    return [getattr(prediction, name) for name in _COLUMNS]


def _summary(made: Forecast) -> str:
    text = (
        f"{counted(made.credits, 'credit')} in {counted(made.days, 'day')} from {made.first}, "
        f"{made.credits / made.days:,.0f} a day"
    )
    if made.cap is not None:
        text += f" (capped at {made.cap:,})"
    if made.unread:
        text += f"; {counted(made.unread, 'list')} never read, cost unknown"
    if made.balance is None:
        return f"{text}. Balance unknown"
    text += f". Balance {made.balance:,}: "
    if made.runs_out_on is not None:
        return f"{text}runs out on {made.runs_out_on}"
    if made.lasts_days is None:
        return f"{text}nothing is spent"
    return f"{text}lasts about {counted(made.lasts_days, 'day')}"


def _as_json(made: Forecast) -> dict[str, Any]:
    return {
        "first": made.first.isoformat(),
        "days": made.days,
        "lists": [{**asdict(each), "recent_saves": each.recent_saves} for each in made.lists],
        "credits": made.credits,
        "credits_by_day": made.by_day,
        "lists_never_read": made.unread,
        "daily_cap": made.cap,
        "balance": made.balance,
        "runs_out_on": made.runs_out_on.isoformat() if made.runs_out_on else None,
        "lasts_days": made.lasts_days,
    }


def _of_untracked(
    settings: Settings,
    home: Home,
    handle: str,
    hint: str,
    days: int,
    *,
    as_json: bool,
    yes: bool,
) -> int:
    if not settings.simulated:
        settings.require_key()
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(
                f"{handle} is not tracked{hint}: its forecast buys one page (1 credit). Nothing "
                "was bought; add --yes to buy it"
            )
        question = f"{handle} is not tracked{hint}. Buy one page of its followers (1 credit)?"
        if not click.confirm(question):
            click.echo("nothing was bought")
            return 0
    home.ensure(settings)
    preflight.look(home, pages=1)
    try:
        walk = asyncio.run(_first_page(settings, home, handle))
    except SocialFetchError as error:
        click.echo(f"sf-assets: {error}", err=True)
        return 3 if isinstance(error, AccountError) else 1
    prediction = first_page_forecast(
        handle,
        days,
        total=walk.reported_total,
        listed=walk.listed,
        more=walk.lookup_status is LookupStatus.FOUND and walk.end_reason is None,
    )
    status = walk.lookup_status.value if walk.lookup_status else None
    if as_json:
        document = {
            "status": status,
            "total": walk.reported_total,
            "listed_on_first_page": walk.listed,
            "days": days,
            **asdict(prediction),
            "recent_saves": prediction.recent_saves,
            "balance": ask_balance(settings),
        }
        click.echo(json.dumps(document, indent=2))
        return 0
    if walk.lookup_status is not LookupStatus.FOUND:
        state = "was not found" if status == "not_found" else f"is {status}"
        click.echo(f"{handle} {state}: a lookup costs 1 credit, {days} in {counted(days, 'day')}")
        return 0
    print_table(_COLUMNS[3:], [_row(prediction)[3:]])
    total = "?" if walk.reported_total is None else f"{walk.reported_total:,}"
    click.echo(
        f"{handle}: {total} followers, {walk.listed} per page. TikTok shows at most the newest "
        f"5,000 to 10,000, so a longer list costs less than its total suggests. The page is kept: "
        f"a snapshot on {settings.day()} "
        f"continues from it (sf-assets track {handle})"
    )
    return 0


async def _first_page(settings: Settings, home: Home, handle: str) -> ListWalk:
    day = settings.day()
    landing = landing_at(home.landing, home.root)
    meter = DayMeter(landing.meter(day), lambda: spent_on(landing, day))
    async with client_of(settings, max_tries=3, max_wait=10) as client:
        return await first_page(
            ListToRead(SnapshotKey(day, handle, "followers")),
            RunContext(
                client,
                landing,
                Budget(settings.daily_credits, meter.count, meter=meter),
                "forecast",
                door_of(home, registry_of(home)),
            ),
        )
