"""`sf-assets alerts`: what there was to tell and whether it went out; a sample to every address."""

from __future__ import annotations

import click

from sf_assets import alerts
from sf_assets.alerts.words import as_data
from sf_assets.cli.common import registry_of
from sf_assets.cli.tables import print_json, print_table
from sf_assets.errors import SettingsError
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.text import counted


def run_list(home: Home, settings: Settings, limit: int, as_json: bool) -> None:
    """The newest alerts of the kinds that are on, newest first. Notes nothing."""
    found = alerts.find_all(home, settings, remember=False)
    told = alerts.deliveries(home)
    rows = []
    for one in reversed(found):
        waiting = one.undelivered_part(told) is not None
        at = max((told[name] for name in one.change_ids if name in told), default="")
        rows.append((one, None if waiting else at))
    shown = rows[:limit]
    if as_json:
        print_json([{**as_data(one, settings.ui_url), "told_at": at} for one, at in shown])
        return
    print_table(
        ["since", "kind", "what", "told (UTC)"],
        [
            (
                str(one.day),
                one.kind,
                _visible(alerts.title(one)),
                "waiting" if at is None else at[:16].replace("T", " "),
            )
            for one, at in shown
        ],
    )
    on = ", ".join(settings.alerts) or "none"
    tags = registry_of(home).alerts
    addresses = len(settings.alert_urls) + sum(map(len, tags.addresses.values()))
    where = counted(addresses, "address", "addresses")
    click.echo(
        (f"{len(shown)} of {counted(len(rows), 'alert')}" if rows else "no alerts so far")
        + f"; kinds that are on: {on}; "
        + (f"of tags {', '.join(tags.tags)} only; " if tags.tags else "")
        + (f"told to {where}" if addresses else "told in log and UI only")
    )


def _visible(text: str) -> str:
    return text.replace("\u200b", "").replace("\u2060", "")


def run_test(home: Home, settings: Settings, as_json: bool, quiet: bool) -> bool:
    """Send a sample to every address; false where it did not arrive at one.

    Raises SettingsError where there is no address, DeliveryFailed where one is none.
    """
    registry = registry_of(home)
    if not settings.alert_urls and not registry.alerts.addresses:
        raise SettingsError(
            "SF_ASSETS_ALERT_URLS is not set, so alerts are in the log and the UI only: put "
            "Apprise URLs into it, comma separated"
        )
    arrivals = alerts.send_sample(settings, registry)
    if as_json:
        print_json(
            [
                {
                    "address": one.position,
                    "service": one.service,
                    "arrived": one.arrived,
                    "why": one.why or None,
                }
                for one in arrivals
            ]
        )
    for one in arrivals:
        where = f"address {one.position} ({one.service})"
        if not one.arrived:
            click.echo(f"{where}: did not arrive, {one.why}; check that URL", err=as_json)
        elif not quiet and not as_json:
            click.echo(f"{where}: arrived")
    return all(one.arrived for one in arrivals)
