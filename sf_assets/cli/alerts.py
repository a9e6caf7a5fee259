"""`sf-assets alerts`: lists alerts and their delivery, and sends a sample to every address."""

from __future__ import annotations

import click

from sf_assets import alerts
from sf_assets.alerts.words import as_data
from sf_assets.cli.common import registry_of
from sf_assets.cli.tables import print_json, print_table
from sf_assets.errors import SettingsError
from sf_assets.handles.settings import Registry
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.text import counted


def run_list(home: Home, settings: Settings, limit: int, as_json: bool) -> None:
    """Print the newest alerts of the enabled kinds, newest first. Changes nothing."""
    delivered = alerts.deliveries(home)
    rows = []
    for alert in reversed(alerts.find_all(home, settings, remember=False)):
        waiting = alert.undelivered_part(delivered) is not None
        at = max((delivered[name] for name in alert.change_ids if name in delivered), default="")
        rows.append((alert, None if waiting else at))
    shown = rows[:limit]
    if as_json:
        print_json([{**as_data(alert, settings.ui_url), "delivered_at": at} for alert, at in shown])
        return
    print_table(
        ["since", "kind", "what", "delivered (UTC)"],
        [
            (
                str(alert.day),
                alert.kind,
                _visible(alerts.title(alert)),
                "waiting" if at is None else at[:16].replace("T", " "),
            )
            for alert, at in shown
        ],
    )
    on = ", ".join(settings.alerts) or "none"
    registry = registry_of(home)
    tags = registry.alerts
    click.echo(
        (f"{len(shown)} of {counted(len(rows), 'alert')}" if rows else "no alerts so far")
        + f"; enabled kinds: {on}; "
        + (f"tags: {', '.join(tags.tags)}; " if tags.tags else "")
        + _where(settings, registry)
    )


def _where(settings: Settings, registry: Registry) -> str:
    """Where alerts go, or why they cannot be sent."""
    try:
        addresses = len(alerts.services(settings, registry))
    except (alerts.DeliveryFailed, SettingsError) as error:
        return f"not sent: {error}"
    where = counted(addresses, "address", "addresses")
    return f"sent to {where}" if addresses else "shown in log and UI only"


def _visible(text: str) -> str:
    return text.replace("\u200b", "").replace("\u2060", "")


def run_test(home: Home, settings: Settings, as_json: bool, quiet: bool) -> bool:
    """Send a sample to every address. Returns False if one did not accept it.

    Raises SettingsError if no address is set, DeliveryFailed if one is not a valid Apprise URL.
    """
    registry = registry_of(home)
    if not settings.alert_urls and not registry.alerts.addresses:
        raise SettingsError(
            "SF_ASSETS_ALERT_URLS is not set, so alerts appear in the log and the UI only; set it "
            "to comma-separated Apprise URLs"
        )
    arrivals = alerts.send_sample(settings, registry)
    if as_json:
        print_json(
            [
                {
                    "address": arrival.position,
                    "service": arrival.service,
                    "arrived": arrival.arrived,
                    "why": arrival.why or None,
                }
                for arrival in arrivals
            ]
        )
    for arrival in arrivals:
        where = f"address {arrival.position} ({arrival.service})"
        if not arrival.arrived:
            click.echo(f"{where}: not delivered, {arrival.why}; check this URL", err=as_json)
        elif not quiet and not as_json:
            click.echo(f"{where}: delivered")
    return all(arrival.arrived for arrival in arrivals)
