"""Posting alerts through Apprise: each address in its own order, with a memory of its own.

Deliveries are noted by address, so that one that is down for an hour neither holds up the others
nor makes them hear the same news again and again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sf_assets.alerts.kinds import Alert
from sf_assets.alerts.ledger import note, note_delivered, taken
from sf_assets.alerts.news import tagged
from sf_assets.alerts.words import Message, messages, sample
from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import crash_point
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.settings import Settings
from sf_assets.social_fetch.route import route_to
from sf_assets.storage.home import Home

# Apprise's plain webhooks: what they post can carry our fields beside title and message.
_WEBHOOKS = {"json", "jsons", "form", "forms", "xml", "xmls"}


class DeliveryFailed(SfAssetsError):
    """An address did not take the message; it is tried again later."""


@dataclass(frozen=True)
class Arrival:
    """Whether a sample arrived at the address, which `place` finds in the settings, and why not."""

    place: int | str
    service: str
    arrived: bool
    why: str = ""


@dataclass(frozen=True)
class _Address:
    """One URL of the setting, or of tags in handles.yaml. The name gives nothing of it away."""

    name: str
    post: Any
    place: int | str
    tags: tuple[str, ...] | None = None

    def takes(self, alert: Alert, registry: Registry) -> bool:
        """Whether it gets the alert: one of a tag, only what names handles of that tag alone."""
        if alert.tag is not None:
            return self.tags is not None and alert.tag in self.tags
        if self.tags is None:
            return True
        return bool(alert.concerns) and tagged(registry, alert.concerns, self.tags, all)

    @property
    def service(self) -> str:
        return str(self.post[0].service_name)

    @property
    def form(self) -> Any:
        """Markdown where it is understood (chats), else what the service itself prefers: HTML for
        mail, text for the others. `?format=` in the URL is obeyed."""
        from apprise import NotifyFormat

        liked = NotifyFormat.TEXT if self.is_webhook else NotifyFormat.MARKDOWN
        return self.post[0].resolve_format(liked)

    @property
    def is_webhook(self) -> bool:
        return _schema(self.post[0]) in _WEBHOOKS

    def send(self, message: Message) -> Any:
        """Post in the form that the service shows best; true where it was taken."""
        from apprise import NotifyFormat

        if self.is_webhook:
            native = _schema(self.post[0]).startswith("json")
            self.post[0].payload_extras["alert"] = (
                message.data if native else json.dumps(message.data, ensure_ascii=False)
            )
        bodies = {NotifyFormat.MARKDOWN: message.markdown, NotifyFormat.HTML: message.html}
        with _certificates(), tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name, _ in message.charts]
            for file, (_, svg) in zip(files, message.charts, strict=True):
                file.write_text(svg, encoding="utf-8")
            return self.post.notify(
                attach=None if self.is_webhook else [str(file) for file in files] or None,
                title=message.title,
                body=bodies.get(self.form, message.body),
                body_format=self.form,
                notify_type=message.level,
            )


def _schema(service: Any) -> str:
    kind = service.secure_protocol if service.secure else service.protocol
    return str(kind if isinstance(kind, str) else next(iter(kind or ("",))))


def deliver(home: Home, news: Sequence[Alert], settings: Settings) -> int:
    """Post alerts, in their order, to every address that is to have them and has not; returns how
    many addresses there are.

    Raises DeliveryFailed where one did not take all.
    """
    registry = registry_in_force(home.registry)[0]
    addresses = _addresses(settings, registry)
    had = taken(home)
    failed = 0
    for address in addresses:
        mine = had.setdefault(address.name, set())
        meant = [one for one in news if address.takes(one, registry)]
        waiting = [left for one in meant if (left := one.untold(mine)) is not None]
        for message in messages(waiting, settings.ui_url):
            if not address.send(message):
                failed += 1
                break  # oldest first: the next one waits
            crash_point("sent")
            note(home, message.change_ids, address=address.name)
            mine.update(message.change_ids)
    done = [
        one
        for one in news
        if all(
            one.untold(had[each.name]) is None for each in addresses if each.takes(one, registry)
        )
    ]
    how = f"{len(addresses)} addresses" if addresses else "log and UI only"
    note_delivered(home, [change_id for one in done for change_id in one.change_ids], how)
    if failed:
        first = next((f" about @{one.handle}" for one in news if one.handle), "")
        raise DeliveryFailed(
            f"{failed} of {len(addresses)} alert addresses did not take the message"
            f"{first}{' and others' if len(news) > 1 else ''}; it is tried again"
        )
    return len(addresses)


def services(settings: Settings, registry: Registry | None = None) -> list[str]:
    """What each address is, such as `Discord`; nothing is sent.

    Raises DeliveryFailed where one is none.
    """
    return [address.service for address in _addresses(settings, registry)]


def send_sample(settings: Settings, registry: Registry | None = None) -> list[Arrival]:
    """Post a message that is marked as a test to every address; nothing is noted.

    Raises DeliveryFailed where one is no address.
    """
    message = sample(settings.ui_url, settings.day())
    arrivals = []
    for address in _addresses(settings, registry):
        with _nothing_printed():
            result = address.send(message)
        arrivals.append(
            Arrival(address.place, address.service, bool(result), "" if result else _why(result))
        )
    return arrivals


def _why(result: Any) -> str:
    """The cause as far as it can be told without the address, which holds tokens."""
    said = " ".join(str(entry.message) for entry in result.logs())
    code = re.search(r"error=(\d{3})\b", said)
    if code:
        return f"it answered {code[1]}"
    if result.timeout_count:
        return "it did not answer in time"
    return "no connection" if "onnection error" in said else "it refused the message"


def _addresses(settings: Settings, registry: Registry | None = None) -> list[_Address]:
    """Those of the setting, then those of tags.

    Raises DeliveryFailed where one is none, SettingsError for a proxy or certificates that the
    environment names and nobody can use.
    """
    # URL -> where it stands and which tags it is for.
    named: dict[str, tuple[int | str, tuple[str, ...] | None]] = {}
    for at, secret in enumerate(settings.alert_urls, start=1):
        named[secret.get_secret_value()] = at, None
    for tag, urls in (registry.alerts.addresses if registry else {}).items():
        for at, secret in enumerate(urls, start=1):
            url = secret.get_secret_value()
            first, tags = named.get(url, (f"{at} of the tag {tag}", ()))
            named[url] = first, None if tags is None else (*tags, tag)
    if not named:
        return []
    import apprise  # heavy, and only needed where an alert goes out
    import httpx

    for scheme in ("http", "https"):
        route_to(httpx.URL(f"{scheme}://alerts.invalid"))
    asset = apprise.AppriseAsset(app_id="sf_assets", app_desc="sf_assets alerts")
    found = []
    for url, (place, tags) in named.items():
        post = apprise.Apprise(asset=asset)
        with _quietly():
            added = post.add(url)
        if not added:
            # Before anything is sent: else the good addresses get it again with every try.
            where = f"{place} of SF_ASSETS_ALERT_URLS" if tags is None else place
            raise DeliveryFailed(
                f"address {where} is no Apprise URL; see the list of services in Apprise's "
                "documentation"
            )
        name = hashlib.sha256(url.encode()).hexdigest()[:12]
        found.append(_Address(name, post, place, tags))
    return found


@contextmanager
def _certificates() -> Iterator[None]:
    """What requests trusts, by which Apprise posts: it has variables of its own for that."""
    named = [os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")]
    trusted = next(filter(None, named), None)
    if trusted is None or any(map(os.environ.get, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))):
        yield
        return
    os.environ["REQUESTS_CA_BUNDLE"] = trusted
    try:
        yield
    finally:
        os.environ.pop("REQUESTS_CA_BUNDLE", None)


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """What Apprise logs while it sends is in its result; nobody else need see it."""
    log, handler = logging.getLogger("apprise"), logging.NullHandler()
    before, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


@contextmanager
def _quietly() -> Iterator[None]:
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
