"""Posts alerts through Apprise, oldest first for each address.

Deliveries are recorded per address, so that an address that is down neither delays the others nor
makes them receive an alert twice.
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
from sf_assets.alerts.ledger import note, note_delivered, received_by_address
from sf_assets.alerts.news import tagged
from sf_assets.alerts.words import Message, messages, sample
from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import crash_point
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.settings import Settings
from sf_assets.social_fetch.route import route_to
from sf_assets.storage.home import Home

# Apprise's plain webhooks. Their posts can carry our own fields.
_WEBHOOKS = {"json", "jsons", "form", "forms", "xml", "xmls"}


class DeliveryFailed(SfAssetsError):
    """An alert address is invalid or did not accept a message."""


@dataclass(frozen=True)
class Arrival:
    """The result of a test message. `position` finds the address in the settings."""

    position: int | str
    service: str
    arrived: bool
    why: str = ""


@dataclass(frozen=True)
class _Address:
    """A URL from the setting or from a tag in handles.yaml. `name` is a hash, without secrets."""

    name: str
    post: Any
    position: int | str
    tags: tuple[str, ...] | None = None

    def takes(self, alert: Alert, registry: Registry) -> bool:
        """Whether the address gets the alert; an address of tags only those of their handles."""
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
        """Markdown for chats, HTML for mail, text for the others. `?format=` in the URL wins."""
        from apprise import NotifyFormat

        preferred = NotifyFormat.TEXT if self.is_webhook else NotifyFormat.MARKDOWN
        return self.post[0].resolve_format(preferred)

    @property
    def is_webhook(self) -> bool:
        return _schema(self.post[0]) in _WEBHOOKS

    def send(self, message: Message) -> Any:
        """Post a message in the format that suits the service. True if the service accepted it."""
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
    """Post alerts, in order, to every address that should get them and did not yet.

    Returns the number of addresses. Raises DeliveryFailed if an address did not accept a message.
    """
    registry = registry_in_force(home.registry)[0]
    addresses = _addresses(settings, registry)
    received = received_by_address(home)
    failures = 0
    for address in addresses:
        received_here = received.setdefault(address.name, set())
        for_address = [alert for alert in news if address.takes(alert, registry)]
        waiting = [
            rest
            for alert in for_address
            if (rest := alert.undelivered_part(received_here)) is not None
        ]
        for message in messages(waiting, settings.ui_url):
            if not address.send(message):
                failures += 1
                break  # the later messages wait
            crash_point("sent")
            note(home, message.change_ids, address=address.name)
            received_here.update(message.change_ids)
    done = [
        alert
        for alert in news
        if all(
            alert.undelivered_part(received[address.name]) is None
            for address in addresses
            if address.takes(alert, registry)
        )
    ]
    how = f"{len(addresses)} addresses" if addresses else "log and UI only"
    note_delivered(home, [change_id for alert in done for change_id in alert.change_ids], how)
    if failures:
        about = next((f" about @{alert.handle}" for alert in news if alert.handle), "")
        raise DeliveryFailed(
            f"{failures} of {len(addresses)} alert addresses did not accept the message"
            f"{about}{' and others' if len(news) > 1 else ''}; it will be sent again"
        )
    return len(addresses)


def services(settings: Settings, registry: Registry | None = None) -> list[str]:
    """The service of each address, such as `Discord`. Sends nothing.

    Raises DeliveryFailed for an invalid address.
    """
    return [address.service for address in _addresses(settings, registry)]


def send_sample(settings: Settings, registry: Registry | None = None) -> list[Arrival]:
    """Post a test message to every address, without recording it.

    Raises DeliveryFailed for an invalid address.
    """
    message = sample(settings.ui_url, settings.day())
    arrivals = []
    for address in _addresses(settings, registry):
        with _nothing_printed():
            result = address.send(message)
        arrivals.append(
            Arrival(address.position, address.service, bool(result), "" if result else _why(result))
        )
    return arrivals


def _why(result: Any) -> str:
    """The reason of a failure, without the address, which holds tokens."""
    log = " ".join(str(entry.message) for entry in result.logs())
    code = re.search(r"error=(\d{3})\b", log)
    if code:
        return f"HTTP {code[1]}"
    if result.timeout_count:
        return "no response in time"
    return "no connection" if "onnection error" in log else "the service rejected the message"


def _addresses(settings: Settings, registry: Registry | None = None) -> list[_Address]:
    """The addresses of the setting, then those of tags.

    Raises DeliveryFailed for an invalid address, and SettingsError for an unusable proxy or
    certificates in the environment.
    """
    # URL -> its position in the settings, and the tags it is for.
    positions: dict[str, tuple[int | str, tuple[str, ...] | None]] = {}
    for at, secret in enumerate(settings.alert_urls, start=1):
        positions[secret.get_secret_value()] = at, None
    for tag, urls in (registry.alerts.addresses if registry else {}).items():
        for at, secret in enumerate(urls, start=1):
            url = secret.get_secret_value()
            position, tags = positions.get(url, (f"{at} of the tag {tag}", ()))
            positions[url] = position, None if tags is None else (*tags, tag)
    if not positions:
        return []
    import apprise  # heavy; needed only to send

    from sf_assets.social_fetch.lean_httpx import httpx

    for scheme in ("http", "https"):
        route_to(httpx.URL(f"{scheme}://alerts.invalid"))
    asset = apprise.AppriseAsset(app_id="sf_assets", app_desc="sf_assets alerts")
    addresses = []
    for url, (position, tags) in positions.items():
        post = apprise.Apprise(asset=asset)
        with _quietly():
            added = post.add(url)
        if not added:
            # Fail before sending: otherwise valid addresses would get a message with every retry.
            where = f"{position} of SF_ASSETS_ALERT_URLS" if tags is None else position
            raise DeliveryFailed(
                f"address {where} is not an Apprise URL; see the list of services in Apprise's "
                "documentation"
            )
        name = hashlib.sha256(url.encode()).hexdigest()[:12]
        addresses.append(_Address(name, post, position, tags))
    return addresses


@contextmanager
def _certificates() -> Iterator[None]:
    """Make `requests`, which Apprise uses, trust the certificates of SSL_CERT_FILE or _DIR."""
    paths = [os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")]
    trusted = next(filter(None, paths), None)
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
    """Print nothing of what Apprise logs while it sends. The result has it too."""
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
    """Drop Apprise's log lines about addresses it does not know, because they hold tokens."""
    log = logging.getLogger("apprise")

    def nothing(_: logging.LogRecord) -> bool:
        return False

    log.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            # Apprise imports a hundred services here, and some of their modules warn.
            warnings.simplefilter("ignore")
            yield
    finally:
        log.removeFilter(nothing)
