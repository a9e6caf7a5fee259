"""Finds the alerts of a home in the published file. Each has an id of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta

import duckdb

from sf_assets.alerts.kinds import KINDS, Alert, AlertContext
from sf_assets.alerts.ledger import switched_on
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading

# Older changes are history, even if they are found only now, such as an account that became notable
# long after it followed.
NEWS_DAYS = 30


def find_all(home: Home, settings: Settings, *, remember: bool = True) -> list[Alert]:
    """All alerts of a home, as `find`. Works before anything is published."""
    try:
        with reading(home.readable) as con:
            return find(con, home, settings, remember=remember)
    except FileNotFoundError:
        return find(None, home, settings, remember=remember)


def find(
    con: duckdb.DuckDBPyConnection | None,
    home: Home,
    settings: Settings,
    *,
    remember: bool = True,
) -> list[Alert]:
    """All alerts of the kinds that are on, delivered or not, oldest first.

    If `alerts:` in handles.yaml names tags, only alerts about handles with one of them, or about
    the whole home. `con` is None if nothing is published. `remember=False` does not record that a
    kind was switched on.
    """
    today = settings.day()
    digest_day = settings.digest_day()
    found: list[Alert] = []
    for kind, first in switched_on(home, settings.alerts, today, remember=remember).items():
        recent = max(first, today - timedelta(days=NEWS_DAYS))
        found += KINDS[kind].find(AlertContext(con, home, today, first, recent, digest_day))
    registry = registry_in_force(home.registry)[0]
    tags = registry.alerts.tags
    if tags is not None:
        found = [
            alert
            for alert in found
            if not alert.concerns or tagged(registry, alert.concerns, tags, any)
        ]
    return sorted(found, key=lambda alert: (alert.day, alert.handle or ""))


def tagged(
    registry: Registry,
    handles: Iterable[str],
    tags: Collection[str],
    which: Callable[[Iterable[bool]], bool],
) -> bool:
    """Whether any (or all, by `which`) of the handles have one of the tags."""
    own = registry.handles
    return which(name in own and not set(tags).isdisjoint(own[name].tags) for name in handles)


def undelivered(found: Sequence[Alert], change_ids: Collection[str]) -> list[Alert]:
    """What remains of the alerts without the delivered `change_ids`, oldest first."""
    return [rest for alert in found if (rest := alert.undelivered_part(change_ids)) is not None]
