"""What a status change says, where it goes, and which ones have gone out.

Deliveries are noted in `alerts.jsonl` of the home, not in Dagster: deleting old runs must not send
old alerts again. They are noted by address, so that one that is down for an hour neither holds up
the others nor makes them hear the same news again and again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

import duckdb

from sf_assets.home import Home
from sf_assets.landing import now
from sf_assets.rehearsal import crash_point
from sf_assets.settings import Settings, SfAssetsError

# More news than this at once are one message, which names so many handles and counts the others:
# a source that breaks for a night must not ring five hundred times.
DIGEST_ABOVE = 5
DIGEST_LINES = 20


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
    return f"{_shown(alert.handle)}: {what} {_TURNED[alert.to_status]}"


def body(alert: Alert) -> str:
    """Since when, what it was before, what it means for the figures."""
    return (
        f"{alert.from_status} → {alert.to_status} on {alert.changed_on} (UTC), last seen "
        f"{alert.from_status} on {alert.previous_date}. {_MEANING[alert.to_status]}"
    )


@dataclass(frozen=True)
class Message:
    """One post, which tells one change or many."""

    title: str
    body: str
    change_ids: tuple[str, ...]


def messages(news: Sequence[Alert]) -> list[Message]:
    """What to post about these alerts: a message each, or one for all where they are many."""
    if len(news) <= DIGEST_ABOVE:
        return [Message(title(one), body(one), one.change_ids) for one in news]
    lines = [f"{title(one)} ({one.from_status} → {one.to_status})" for one in news[:DIGEST_LINES]]
    if len(news) > DIGEST_LINES:
        lines.append(f"… and {len(news) - DIGEST_LINES} more: see the table status_changes")
    days = sorted({one.changed_on for one in news})
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    ids = tuple(change_id for one in news for change_id in one.change_ids)
    return [Message(f"{len(news)} status changes {when} (UTC)", "\n".join(lines), ids)]


# What a chat reads as a call to everybody, whatever follows.
_CALLS = re.compile(r"(everyone|here|channel|all|room|group|team|online)", re.IGNORECASE)


def _shown(handle: str) -> str:
    # Normalised handles hold nothing but a-z, 0-9, dots and underscores; this text leaves the
    # house, so it does not lean on that.
    plain = re.sub(r"[^A-Za-z0-9._]", "?", handle)
    # A zero-width space: a person reads the handle, a chat wakes nobody.
    return f"@\u200b{plain}" if _CALLS.match(plain) else f"@{plain}"


def deliver(home: Home, news: Sequence[Alert], settings: Settings) -> int:
    """Post alerts, in their order, to every address that has not had them; returns how many.

    Each address has its own order and memory. Raises DeliveryFailed where one did not take all.
    """
    addresses = _addresses(settings)
    taken = _taken(home)
    failed = 0
    for name, post in addresses:
        for message in messages([one for one in news if name not in taken.get(one.id, ())]):
            if not post.notify(title=message.title, body=message.body):
                failed += 1
                break  # oldest first: the next one waits
            crash_point("sent")
            _note(home, message.change_ids, address=name)
            for change_id in message.change_ids:
                taken.setdefault(change_id, set()).add(name)
    names = {name for name, _ in addresses}
    done = [one for one in news if names <= taken.get(one.id, set())]
    how = f"{len(addresses)} addresses" if addresses else "log and UI only"
    note_delivered(home, [change_id for one in done for change_id in one.change_ids], how)
    if failed:
        raise DeliveryFailed(
            f"{failed} of {len(addresses)} alert addresses did not take the message about "
            f"@{news[0].handle}{' and others' if len(news) > 1 else ''}; it is tried again"
        )
    return len(addresses)


def _addresses(settings: Settings) -> list[tuple[str, Any]]:
    """(name, Apprise object) of each address; the name gives nothing of it away.

    Raises DeliveryFailed where one is none.
    """
    if not settings.alert_urls:
        return []
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
        name = hashlib.sha256(url.get_secret_value().encode()).hexdigest()[:12]
        posts.append((name, post))
    return posts


@contextmanager
def _adding_quietly() -> Iterator[None]:
    """Apprise logs an address it does not understand as it is, tokens included."""
    log = logging.getLogger("apprise")

    def nothing(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            # It loads a hundred services here; what they import is no concern of ours.
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeFilter(nothing)


def delivered(home: Home) -> set[str]:
    """Ids of changes whose alert has gone out."""
    return {line["change_id"] for line in _lines(home) if "address" not in line}


def _taken(home: Home) -> dict[str, set[str]]:
    """Change id -> names of the addresses that had it."""
    found: dict[str, set[str]] = {}
    for line in _lines(home):
        if "address" in line:
            found.setdefault(line["change_id"], set()).add(line["address"])
    return found


def _lines(home: Home) -> Iterator[dict[str, str]]:
    try:
        lines = home.deliveries.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for text in lines:
        try:
            line = json.loads(text)
            if isinstance(line["change_id"], str):
                yield line
        except (ValueError, KeyError, TypeError):
            continue  # torn while it was written: the alert goes out again, at least once


def note_delivered(home: Home, change_ids: Iterable[str], how: str) -> None:
    """Remember that these changes are told, and how."""
    _note(home, change_ids, how=how)


def _note(home: Home, change_ids: Iterable[str], **said: str) -> None:
    lines = [json.dumps({"change_id": one, "at": now(), **said}) for one in change_ids]
    if not lines:
        return
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
