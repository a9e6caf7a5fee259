"""`sf-assets probe`: measures the API and compares it with our assumptions."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

import click

from sf_assets.cli.common import registry_of
from sf_assets.cli.tables import harmless, print_json, print_table
from sf_assets.credits.budget import Budget
from sf_assets.credits.meter import meter_of
from sf_assets.errors import SettingsError
from sf_assets.fault_injection import shortened
from sf_assets.handles.privacy import door_of
from sf_assets.handles.settings import normalise_handle
from sf_assets.ingest import preflight
from sf_assets.ingest.client import client_of
from sf_assets.ingest.probe import MOST_CREDITS, PAUSE_SECONDS, Probed, facts_of, keep, kept, probe
from sf_assets.ingest.reader import RunContext
from sf_assets.settings import Settings
from sf_assets.social_fetch import AccountError, SocialFetchError
from sf_assets.storage.home import Home
from sf_assets.storage.landing import spent_on
from sf_assets.storage.landings import landing_of
from sf_assets.storage.records import LandingDamaged, now
from sf_assets.text import counted
from sf_assets.warehouse.ledger import Paid, write_ledger


def run_probe(
    settings: Settings, home: Home, handle: str | None, *, last: bool, yes: bool, as_json: bool
) -> int:
    """Measure, print and store the result. Returns the exit code.

    Raises SettingsError if there is no handle, no terminal to confirm on, or no stored result.
    """
    if last:
        result = kept(home)
        if result is None:
            raise SettingsError("no probe yet; run: sf-assets probe HANDLE")
        _show(result, as_json=as_json)
        return 0
    if not settings.simulated:
        settings.require_key()
    wanted = _wanted(home, handle)
    spend = f"the first pages of @{wanted}, two of them twice: at most {MOST_CREDITS} credits"
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(f"probe buys {spend}. Nothing was bought; add --yes to buy them")
        if not click.confirm(f"Buy {spend}? This takes about a minute."):
            click.echo("nothing was bought")
            return 0
    home.ensure(settings)
    preflight.look(home, pages=MOST_CREDITS)
    try:
        probed = asyncio.run(_probed(settings, home, wanted))
    except SocialFetchError as error:
        click.echo(f"sf-assets: {error}", err=True)
        return 3 if isinstance(error, AccountError) else 1
    _show(keep(home, probed, facts_of(probed)), as_json=as_json)
    return 0


def _wanted(home: Home, handle: str | None) -> str:
    registry = registry_of(home)
    if handle is not None:
        return normalise_handle(handle)
    if not registry.handles:
        raise SettingsError("no handle is tracked yet; give one: sf-assets probe HANDLE")
    return next(iter(registry.handles))


async def _probed(settings: Settings, home: Home, handle: str) -> Probed:
    day = settings.day()
    landing, door = landing_of(home), door_of(home, registry_of(home))
    # Since they were read somebody may have been forgotten.
    with suppress(LandingDamaged):  # a snapshot reports it
        await asyncio.to_thread(landing.send_spooled, door.pages if door.closed else None)
    meter = meter_of(landing.meter(day), lambda: spent_on(landing, day))
    async with client_of(settings, max_tries=2, max_wait=10) as client:
        budget = Budget(settings.daily_credits, meter.count, meter=meter)
        run = RunContext(client, landing, budget, "probe", door)
        probed = await probe(handle, day, run, shortened(PAUSE_SECONDS))
    meter.settle()
    if probed.not_landed:
        paid = Paid("followers", handle, day, 0, 0, probed.not_landed, 0, 0, 0, now(), "probe")
        write_ledger(home.archive, day, [paid])  # in the tables with the next run
    return probed


def _show(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    names = ("fact", "assumed", "found")
    rows = [
        [" " if fact["as_assumed"] else "!", *(harmless(str(fact[name])) for name in names)]
        for fact in result["facts"]
    ]
    print_table(["", *names], rows)
    for fact in result["facts"]:
        if not fact["as_assumed"]:
            click.echo(harmless(f"! {fact['fact']}: {fact['follows']}"))
    different = sum(not fact["as_assumed"] for fact in result["facts"])
    verdict = f"{different} of {len(rows)} facts differ from the assumption"
    if not different:
        verdict = f"all {len(rows)} facts are as assumed"
    click.echo(
        f"{result['day']}, @{result['handle']}, {counted(result['credits'], 'credit')}: {verdict}. "
        "Show this again with: sf-assets probe --last"
    )
