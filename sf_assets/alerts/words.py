"""What an alert says: one text for chats that take it as it is, Markdown, HTML for mail, JSON.

Machines get what strangers chose as it is; in the sentences of people it is made harmless.
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

# More news than this at once are one message, which names so many handles and counts the others:
# a source that breaks for a night must not ring five hundred times.
DIGEST_ABOVE = 5
DIGEST_LINES = 20

# Of the fields below `alert` in JSON. Raised when one changes its meaning or goes; new ones may
# come without.
JSON_VERSION = 1


@dataclass(frozen=True)
class Message:
    """One post, which tells one change or many, in every form."""

    title: str
    body: str
    markdown: str
    html: str
    data: dict[str, Any]
    change_ids: tuple[str, ...]
    level: Level = "warning"
    charts: Sequence[tuple[str, str]] = ()


def title(alert: Alert) -> str:
    """One line: who, what."""
    return f"{shown(alert.handle)}: {alert.words.what}" if alert.handle else alert.words.what


def body(alert: Alert, ui: str | None = None) -> str:
    """Since when, what it was before, what it means for the figures, where to look."""
    text = f"{alert.words.said} {alert.words.means}"
    return text if ui is None else f"{text}\n{ui}{alert.place}"


def messages(news: Sequence[Alert], ui: str | None = None) -> list[Message]:
    """What to post about these alerts: a message each, or one for all where they are many.

    `ui` is the address of the Dagster UI, for links.
    """
    # The week is a message of its own, whatever else there is.
    weekly = [_message(one, ui) for one in news if one.lines]
    news = [one for one in news if not one.lines]
    if len(news) <= DIGEST_ABOVE:
        return [*(_message(one, ui) for one in news), *weekly]
    return [_digest(news, ui), *weekly]


def sample(ui: str | None, today: date) -> Message:
    """A message that looks like the real thing and says that it is none."""
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
_TEST_NOTE = "This is a test sent by hand with `sf-assets alerts test`; no such change was seen."


def _message(alert: Alert, ui: str | None, *, test: bool = False) -> Message:
    head = (TEST if test else "") + title(alert)
    note = [_TEST_NOTE.replace("`", "")] if test else []
    lines = [f"{name}: {text}" if name else text for name, text in alert.lines]
    sentences = [*note, alert.words.said, alert.words.means]
    links = _links(alert, ui)
    data = as_data(alert, ui)
    return Message(
        title=head,
        body="\n".join([" ".join(sentences), *lines, *([links[0][1]] if ui else [])]),
        markdown="\n\n".join(
            [*map(_as_markdown, [*sentences, *lines]), *([_markdown_links(links)] if links else [])]
        ),
        html=_mail(head, [[("", one) for one in note], _rows(alert), alert.lines], links),
        data={**data, "kind": "test"} if test else data,
        change_ids=alert.change_ids,
        level=alert.level,
        charts=alert.charts,
    )


def _digest(news: Sequence[Alert], ui: str | None) -> Message:
    lines = [title(one) + one.words.turn for one in news[:DIGEST_LINES]]
    if len(news) > DIGEST_LINES:
        lines.append(f"… and {len(news) - DIGEST_LINES} more: see `sf-assets alerts`")
    days = sorted({one.day for one in news})
    when = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    what = "status changes" if all(one.kind == "status" for one in news) else "alerts"
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
            "alerts": [as_data(one, ui) for one in news],
        },
        change_ids=tuple(change_id for one in news for change_id in one.change_ids),
        level="warning" if any(one.level == "warning" for one in news) else "info",
    )


_MARKS = re.compile(r"([\\`*_\[\]<>#|~])")


def _as_markdown(text: str) -> str:
    return _MARKS.sub(r"\\\1", text)


def _markdown_links(links: Sequence[tuple[str, str]]) -> str:
    return " · ".join(f"[{name}]({url})" for name, url in links)


def _links(alert: Alert, ui: str | None) -> list[tuple[str, str]]:
    """(name, address): the place in the UI first, where there is one."""
    found = [("Open in Dagster", ui + alert.place)] if ui else []
    profile = _profile(alert)
    return [*found, ("Profile on TikTok", profile)] if profile else found


def _profile(alert: Alert) -> str | None:
    return f"https://www.tiktok.com/@{quote(alert.handle)}" if alert.handle else None


def as_data(alert: Alert, ui: str | None) -> dict[str, Any]:
    """An alert for machines; docs/alerts.md says what each field means."""
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
        "links": {"ui": ui + alert.place if ui else None, "profile": _profile(alert)},
        "details": alert.details,
    }


def _rows(alert: Alert) -> list[tuple[str, str]]:
    """What a mail says of an alert: (label, text)."""
    rows = [("What", alert.words.said)]
    if alert.has_since:
        rows.append(("Since", f"{alert.day} (UTC)"))
    if alert.previous_day is not None and alert.has_before:
        rows.append(("Before", f"{alert.words.was}, last on {alert.previous_day}"))
    return [*rows, ("It means", alert.words.means)]


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
