"""What a status change says, where it goes, and which ones have gone out.

Deliveries are noted in `alerts.jsonl` of the home, not in Dagster: deleting old runs must not send
old alerts again.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import duckdb

from sf_assets.home import Home
from sf_assets.landing import now
from sf_assets.settings import Settings, SfAssetsError


class DeliveryFailed(SfAssetsError):
    """An address did not take the message; it is tried again later."""


@dataclass(frozen=True)
class Alert:
    """One change of a handle's status on a day, of one of its lists or of both alike."""

    change_ids: tuple[str, ...]
    handle: str
    relations: tuple[str, ...]
    from_status: str
    to_status: str
    changed_on: date
    previous_date: date

    @property
    def id(self) -> str:
        """The id of the first change; names the run that delivers the alert."""
        return self.change_ids[0]


_MEANING = {
    "private": "Its lists cannot be read until it opens; no one is counted as gained or lost.",
    "hidden": "The owner hides this list; no one is counted as gained or lost while it is hidden.",
    "not_found": "The handle is gone: deleted, banned or renamed. If it was renamed, track the new "
    "handle.",
    "found": "It can be read again; the next figures are compared across the gap.",
}
_TURNED = {
    "private": "turned private",
    "hidden": "was hidden",
    "not_found": "was not found",
    "found": "is open again",
}


def alerts(con: duckdb.DuckDBPyConnection, since: date | None = None) -> list[Alert]:
    """Status changes as alerts, oldest first; both lists of a handle changing alike are one."""
    rows = con.execute(
        "SELECT changed_on, handle, from_status, to_status, previous_date, relation, change_id "
        "FROM main.status_changes WHERE changed_on >= ? ORDER BY ALL",
        [since or date.min],
    ).fetchall()
    found = []
    for (changed_on, handle, from_status, to_status), group in groupby(rows, key=lambda r: r[:4]):
        parts = list(group)
        found.append(
            Alert(
                change_ids=tuple(part[6] for part in parts),
                handle=handle,
                relations=tuple(part[5] for part in parts),
                from_status=from_status,
                to_status=to_status,
                changed_on=changed_on,
                previous_date=max(part[4] for part in parts),
            )
        )
    return found


def title(alert: Alert) -> str:
    """One line: who, what."""
    what = "profile" if len(alert.relations) > 1 else f"{alert.relations[0]} list"
    return f"@{alert.handle}: {what} {_TURNED[alert.to_status]}"


def body(alert: Alert) -> str:
    """Since when, what it was before, what it means for the figures."""
    return (
        f"{alert.from_status} → {alert.to_status} on {alert.changed_on} (UTC), last seen "
        f"{alert.from_status} on {alert.previous_date}. {_MEANING[alert.to_status]}"
    )


def send(alert: Alert, settings: Settings) -> int:
    """Post an alert to every address; returns how many there are (0: log and UI only).

    Raises DeliveryFailed where an address did not take it.
    """
    if not settings.alert_urls:
        return 0
    import apprise  # heavy, and only needed where an alert goes out

    posts = []
    for number, url in enumerate(settings.alert_urls, start=1):
        post = apprise.Apprise()
        with _adding_quietly():
            added = post.add(url.get_secret_value())
        if not added:
            # Before anything is sent: else the good addresses get it again with every try.
            raise DeliveryFailed(
                f"address {number} of SF_ASSETS_ALERT_URLS is no Apprise URL; see the list of "
                "services in Apprise's documentation"
            )
        posts.append(post)
    failed = sum(not post.notify(title=title(alert), body=body(alert)) for post in posts)
    if failed:
        raise DeliveryFailed(
            f"{failed} of {len(settings.alert_urls)} alert addresses did not take the message "
            f"about @{alert.handle}; it is tried again"
        )
    return len(settings.alert_urls)


@contextmanager
def _adding_quietly() -> Iterator[None]:
    """Apprise logs an address it does not understand as it is, tokens included."""
    log = logging.getLogger("apprise")

    def nothing(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            # It loads all its services here; one of them asks for a module that Python 3.13 drops.
            warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
            yield
    finally:
        log.removeFilter(nothing)


def delivered(home: Home) -> set[str]:
    """Ids of changes whose alert has gone out."""
    try:
        lines = home.deliveries.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return set()
    ids: set[str] = set()
    for line in lines:
        try:
            ids.add(json.loads(line)["change_id"])
        except (ValueError, KeyError, TypeError):
            continue  # torn while it was written: the alert goes out again, at least once
    return ids


def note_delivered(home: Home, change_ids: Iterable[str], how: str) -> None:
    """Remember that these changes are told, and how."""
    lines = [json.dumps({"change_id": one, "at": now(), "how": how}) for one in change_ids]
    with os.fdopen(
        os.open(home.deliveries, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b"
    ) as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")  # the line before is torn: it must not tear this one too
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def undelivered(found: Sequence[Alert], told: set[str]) -> list[Alert]:
    """Alerts nobody was told of, oldest first.

    The second list of a handle may be read later than the first; the same change is not told twice.
    """
    return [alert for alert in found if not told.intersection(alert.change_ids)]
