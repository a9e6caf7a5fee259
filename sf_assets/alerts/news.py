"""What there is to tell, found in the published file: each thing once, under an id of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta

import duckdb

from sf_assets.alerts.kinds import KINDS, Alert, Look
from sf_assets.alerts.ledger import switched_on
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading

# What is older than this is history, also where it comes to light only now: an account that grew
# notable long after it came.
NEWS_DAYS = 30


def find_all(home: Home, settings: Settings, *, remember: bool = True) -> list[Alert]:
    """The news of a home, as `find` finds them, also where nothing is published yet."""
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
    """All news of the kinds that are on, told or not, oldest first; where `alerts:` names tags,
    those of handles that have one, and what concerns the whole home.

    `con` is None where nothing is published; `remember` False leaves no note that a kind was seen
    switched on.
    """
    today = settings.day()
    digest_day = settings.digest_day()
    found: list[Alert] = []
    for kind, first in switched_on(home, settings.alerts, today, remember=remember).items():
        recent = max(first, today - timedelta(days=NEWS_DAYS))
        found += KINDS[kind].find(Look(con, home, today, first, recent, digest_day))
    registry = registry_in_force(home.registry)[0]
    tags = registry.alerts.tags
    if tags is not None:
        found = [
            one for one in found if not one.concerns or tagged(registry, one.concerns, tags, any)
        ]
    return sorted(found, key=lambda one: (one.day, one.handle or ""))


def tagged(
    registry: Registry,
    handles: Iterable[str],
    tags: Collection[str],
    which: Callable[[Iterable[bool]], bool],
) -> bool:
    """Whether any of the handles, or all, have one of the tags."""
    own = registry.handles
    return which(one in own and not set(tags).isdisjoint(own[one].tags) for one in handles)


def undelivered(found: Sequence[Alert], told: Collection[str]) -> list[Alert]:
    """Alerts nobody was told of, oldest first."""
    return [left for one in found if (left := one.untold(told)) is not None]
