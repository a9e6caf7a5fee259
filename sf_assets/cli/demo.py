"""`sf-assets demo`: makes a month of history, day by day, with the real pipeline."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import nullcontext
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import click

from sf_assets import alerts
from sf_assets.cli.runner import Runner, dagster_instance, failure_of
from sf_assets.cli.up import listening, run_up
from sf_assets.errors import SettingsError
from sf_assets.handles.edit import track
from sf_assets.model import RELATIONS
from sf_assets.settings import Settings, load_settings
from sf_assets.simulator import background
from sf_assets.storage.home import Home
from sf_assets.text import counted
from sf_assets.warehouse.connection import reading

_NOT_THE_DEMOS = (
    "SF_ASSETS_DAILY_CREDITS",
    "SF_ASSETS_GRID_DAYS",
    "SF_ASSETS_STORAGE",
    "SF_ASSETS_TODAY",
    "SF_ASSETS_WAREHOUSE",
    "SOCIALFETCH_API_KEY_FILE",
)
_TAGS = ("acme", "press")
MARKER = "This folder belongs to `sf-assets demo`, which empties it.\n"


def run_demo(*, days: int, port: int, ui: bool, home: Path) -> int:
    """Make the history, print how to query it, and serve the UI. Returns the exit code.

    Raises SettingsError if `home` is not a demo folder or the port is taken.
    """
    marker = home / "DEMO"
    if home.exists() and any(home.iterdir()) and not marker.exists():
        raise SettingsError(f"{home} is not a folder of the demo; choose another with --home")
    today = datetime.now(timezone.utc).date()
    first = today - timedelta(days=days - 1)
    with (
        # The port first, so that a taken one is found before the history is made.
        listening(port) if ui else nullcontext() as ui_socket,
        background(preset="demo", today=today) as simulator,
    ):
        # Also for the processes of `up`. The user's settings must not affect the demo.
        os.environ.update(
            SF_ASSETS_HOME=str(home),
            SF_ASSETS_START_DATE=first.isoformat(),
            SOCIALFETCH_BASE_URL=simulator.base_url,
            SOCIALFETCH_API_KEY=simulator.api_key,
        )
        for name in _NOT_THE_DEMOS:
            os.environ.pop(name, None)
        settings = load_settings()  # before the folder is emptied: this may raise
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, mode=0o700)
        marker.write_text(MARKER, encoding="utf-8")
        demo_home = Home.of(settings).ensure(settings)
        handles = list(simulator.world.handles)
        for number, handle in enumerate(handles):
            track(demo_home.registry, [handle], {"tags": [_TAGS[number % len(_TAGS)]]})
        unfinished = _make_history(settings, handles, first, today)
        simulator.set_day(None)
        _print_summary(demo_home, handles, first, today, unfinished)
        if ui_socket is None:
            return 0
        return run_up(demo_home, ui_socket)


def _make_history(settings: Settings, handles: list[str], first: date, today: date) -> list[str]:
    home = Home.of(settings)
    days = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    unfinished: list[str] = []
    with dagster_instance(home) as instance:
        with click.progressbar(
            days,
            label=f"{counted(len(days), 'day')} of {counted(len(handles), 'handle')}",
            file=sys.stderr,
        ) as bar:
            for day in bar:
                runner = Runner(instance, settings.model_copy(update={"today": day}))
                for result in runner.snapshot(day, handles, RELATIONS, refresh=False):
                    if not result.success:
                        unfinished.append(f"{day}: {failure_of(result)[0]}")
        derived = Runner(instance, settings).derive(first, today)
        if not derived.success:
            raise SettingsError(f"demo: {failure_of(derived)[0]}")
    # No alerts about the invented past; alerts about today are sent.
    with reading(home.readable) as con:
        for alert in alerts.find(con, home, settings):
            if alert.day < today:
                alerts.note_delivered(home, alert.change_ids, "demo history")
    return unfinished


def _print_summary(
    home: Home, handles: list[str], first: date, today: date, unfinished: list[str]
) -> None:
    with reading(home.readable) as con:
        snapshots, accounts, credits = con.execute(
            "SELECT count(*), sum(listed), sum(credits_charged) FROM snapshots"
        ).fetchall()[0]
        churn = dict(
            con.execute(
                "SELECT change, count(*) FROM internal.churn WHERE state <> 'retracted' "
                "GROUP BY ALL"
            ).fetchall()
        )
        changes = con.execute("SELECT count(*) FROM status_changes").fetchall()[0][0]
    click.echo(
        f"{first} to {today}: {counted(snapshots, 'snapshot')}, "
        f"{counted(accounts, 'account')} listed, "
        f"{counted(credits, 'credit')} (simulated); {churn.get('gained', 0):,} gained, "
        f"{churn.get('returned', 0):,} returned, {churn.get('lost', 0):,} lost, "
        f"{counted(changes, 'status change')}"
    )
    for line in unfinished:
        click.echo(line, err=True)
    shown = shlex.quote(str(home.root))
    click.echo(
        f"Try these with SF_ASSETS_HOME={shown}:\n"
        "  sf-assets query --example who_left --days 1        who unfollowed on the newest day\n"
        f"  sf-assets account {_somebody(home)}\n"
        "  sf-assets report --tag acme --title 'Acme' -o acme.html"
    )


def _somebody(home: Home) -> str:
    """The newest account that left, for the example."""
    with reading(home.readable) as con:
        rows = con.execute(
            "SELECT account_handle FROM follower_churn WHERE change = 'lost' AND state <> "
            "'retracted' ORDER BY snapshot_date DESC, account_handle LIMIT 1"
        ).fetchall()
    return f"@{rows[0][0]}" if rows else "@somebody"
