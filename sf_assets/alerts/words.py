"""Writes the message of an alert: plain text, Markdown for chats, HTML for mail, JSON for machines.

JSON holds names of strangers unchanged. The sentences for people hold them made harmless.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from sf_assets.alerts.kinds import Alert, Level, StatusChange
from sf_assets.alerts.strangers import shown

# More alerts than this become one message, which lists DIGEST_LINES of them and counts the others,
# so that an outage does not send five hundred messages.
DIGEST_ABOVE = 5
DIGEST_LINES = 20

# The version of the fields below `alert` in JSON. A new field does not raise it; a field that is
# removed or changes its meaning does.
JSON_VERSION = 1


@dataclass(frozen=True)
class Message:
    """One message about one or more changes, in every format."""

    title: str
    body: str
    markdown: str
    html: str
    data: dict[str, Any]
    change_ids: tuple[str, ...]
    level: Level = "warning"
    charts: Sequence[tuple[str, str]] = ()


def title(alert: Alert) -> str:
    """The title: who and what, in one line."""
    return f"{shown(alert.handle)}: {alert.words.what}" if alert.handle else alert.words.what


def body(alert: Alert, ui: str | None = None) -> str:
    """The text: since when, the state before, what it means, and a link to the UI."""
    text = f"{alert.words.summary} {alert.words.means}"
    return text if ui is None else f"{text}\n{ui}{alert.ui_path}"


def messages(news: Sequence[Alert], ui: str | None = None) -> list[Message]:
    """The messages about these alerts: one each, or one for all if there are many.

    `ui` is the URL of the Dagster UI, for links.
    """
    # The weekly digest is always a message of its own.
    weekly = [_message(alert, ui) for alert in news if alert.lines]
    news = [alert for alert in news if not alert.lines]
    if len(news) <= DIGEST_ABOVE:
        return [*(_message(alert, ui) for alert in news), *weekly]
    return [_digest(news, ui), *weekly]


def sample(ui: str | None, today: date) -> Message:
    """A sample message that is marked as a test."""
    alert = StatusChange(
        change_ids=("test",),
        handle="example",
        relations=("followers", "following"),
        from_status="found",
        to_status="private",
        day=today,
        previous_day=today - timedelta(days=1),
    )
    return _message(alert, ui, test=True)


TEST = "TEST (nothing happened): "
_TEST_NOTE = "This is a test from `sf-assets alerts test`. The change below is invented."


def _message(alert: Alert, ui: str | None, *, test: bool = False) -> Message:
    head = (TEST if test else "") + title(alert)
    note = [_TEST_NOTE.replace("`", "")] if test else []
    lines = [f"{name}: {text}" if name else text for name, text in alert.lines]
    sentences = [*note, alert.words.summary, alert.words.means]
    links = _links(alert, ui)
    data = as_data(alert, ui)
    return Message(
        title=head,
        body="\n".join([" ".join(sentences), *lines, *([links[0][1]] if ui else [])]),
        markdown="\n\n".join(
            [*map(_as_markdown, [*sentences, *lines]), *([_markdown_links(links)] if links else [])]
        ),
        html=_mail(head, [[("", line) for line in note], _rows(alert), alert.lines], links),
        data={**data, "kind": "test"} if test else data,
        change_ids=alert.change_ids,
        level=alert.level,
        charts=alert.charts,
    )


def _digest(news: Sequence[Alert], ui: str | None) -> Message:
    lines = [title(alert) + alert.words.digest_suffix for alert in news[:DIGEST_LINES]]
    if len(news) > DIGEST_LINES:
        lines.append(f"… and {len(news) - DIGEST_LINES} more: see `sf-assets alerts`")
    days = sorted({alert.day for alert in news})
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    what = "status changes" if all(alert.kind == "status" for alert in news) else "alerts"
    head = f"{len(news)} {what} {when} (UTC)"
    plain = [line.replace("`", "") for line in lines]
    overview = f"{ui}/assets/status_changes?view=partitions" if ui else None
    links = [("Open in Dagster", overview)] if overview else []
    return Message(
        title=head,
        body="\n".join([*plain, *([overview] if overview else [])]),
        markdown="\n".join(
            [*(f"- {_as_markdown(line)}" for line in plain)]
            + (["", _markdown_links(links)] if links else [])
        ),
        html=_mail(head, [[("", line) for line in plain]], links),
        data={
            "version": JSON_VERSION,
            "kind": "digest",
            "id": news[0].id,
            "title": head,
            "links": {"ui": overview},
            "alerts": [as_data(alert, ui) for alert in news],
        },
        change_ids=tuple(change_id for alert in news for change_id in alert.change_ids),
        level="warning" if any(alert.level == "warning" for alert in news) else "info",
    )


_MARKS = re.compile(r"([\\`*_\[\]<>#|~])")


def _as_markdown(text: str) -> str:
    return _MARKS.sub(r"\\\1", text)


def _markdown_links(links: Sequence[tuple[str, str]]) -> str:
    return " · ".join(f"[{name}]({url})" for name, url in links)


def _links(alert: Alert, ui: str | None) -> list[tuple[str, str]]:
    """(name, URL) of each link, the Dagster UI first."""
    links = [("Open in Dagster", ui + alert.ui_path)] if ui else []
    profile = _profile(alert)
    return [*links, ("Profile on TikTok", profile)] if profile else links


def _profile(alert: Alert) -> str | None:
    return f"https://www.tiktok.com/@{quote(alert.handle)}" if alert.handle else None


def as_data(alert: Alert, ui: str | None) -> dict[str, Any]:
    """An alert as JSON fields. docs/alerts.md explains each field."""
    return {
        "version": JSON_VERSION,
        "kind": alert.kind,
        "id": alert.id,
        "ids": list(alert.change_ids),
        "handle": alert.handle,
        "relations": list(alert.relations),
        "title": title(alert),
        "since": str(alert.day),
        "was": alert.words.was,
        "now": alert.words.now,
        "previous_date": str(alert.previous_day) if alert.previous_day else None,
        "means": alert.words.means,
        "level": alert.level,
        "links": {"ui": ui + alert.ui_path if ui else None, "profile": _profile(alert)},
        "details": alert.details,
    }


def _rows(alert: Alert) -> list[tuple[str, str]]:
    """The rows of a mail about an alert: (label, text)."""
    rows = [("What", alert.words.summary)]
    if alert.has_since:
        rows.append(("Since", f"{alert.day} (UTC)"))
    if alert.previous_day is not None and alert.has_before:
        rows.append(("Before", f"{alert.words.was}, last on {alert.previous_day}"))
    return [*rows, ("Meaning", alert.words.means)]


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (resources.files("sf_assets.alerts") / "mail.html").read_text(encoding="utf-8")
    return environment.from_string(text)


def _mail(
    head: str, parts: Sequence[Sequence[tuple[str, str]]], links: Sequence[tuple[str, str]]
) -> str:
    page: str = _template().render(title=head, parts=parts, links=links)
    return page.strip()
