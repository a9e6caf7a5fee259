"""What an alert says: one text for chats that take it as it is, Markdown, HTML for mail, JSON.

Chats call people, make links and format what they are sent, each in its own way, so what strangers
chose, their handles and names, is made harmless before it becomes part of a sentence. Machines get
it as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from sf_assets.alerts.kinds import (
    Alert,
    ChurnSpike,
    CreditsLow,
    DayFailed,
    Level,
    NotableAccount,
    NotableChange,
    Stale,
    StatusChange,
)
from sf_assets.text import clean, counted

# More news than this at once are one message, which names so many handles and counts the others:
# a source that breaks for a night must not ring five hundred times.
DIGEST_ABOVE = 5
DIGEST_LINES = 20
# Accounts named in a message; the others are counted.
NAMED = 10
NAME_LENGTH = 40
REASON_LENGTH = 600

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


def title(alert: Alert) -> str:
    """One line: who, what."""
    what = _what(alert)
    return f"{_shown(alert.handle)}: {what}" if alert.handle else what


def body(alert: Alert, ui: str | None = None) -> str:
    """Since when, what it was before, what it means for the figures, where to look."""
    text = f"{said(alert)} {means(alert)}"
    return text if ui is None else f"{text}\n{ui}{alert.place}"


def messages(news: Sequence[Alert], ui: str | None = None) -> list[Message]:
    """What to post about these alerts: a message each, or one for all where they are many.

    `ui` is the address of the Dagster UI, for links.
    """
    if len(news) <= DIGEST_ABOVE:
        return [_message(one, ui) for one in news]
    return [_digest(news, ui)]


def sample(ui: str | None, today: date) -> Message:
    """A message that looks like the real thing and says that it is none."""
    alert = StatusChange(
        change_ids=("test",),
        handle="example",
        relations=("followers", "following"),
        from_status="found",
        to_status="private",
        changed_on=today,
        previous_date=today - timedelta(days=1),
    )
    return _message(alert, ui, test=True)


TEST = "TEST (nothing happened): "
_TEST_NOTE = "This is a test sent by hand with `sf-assets alerts test`; no such change was seen."


def _message(alert: Alert, ui: str | None, *, test: bool = False) -> Message:
    head = (TEST if test else "") + title(alert)
    note = [_TEST_NOTE.replace("`", "")] if test else []
    sentences = [*note, said(alert), means(alert)]
    links = _links(alert, ui)
    data = as_data(alert, ui)
    return Message(
        title=head,
        body="\n".join([" ".join(sentences), *([links[0][1]] if ui else [])]),
        markdown="\n\n".join(
            [*map(_as_markdown, sentences), *([_markdown_links(links)] if links else [])]
        ),
        html=_mail(head, [[("", one) for one in note], _rows(alert)], links),
        data={**data, "kind": "test"} if test else data,
        change_ids=alert.change_ids,
        level=alert.level,
    )


def _digest(news: Sequence[Alert], ui: str | None) -> Message:
    lines = [_line(one) for one in news[:DIGEST_LINES]]
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


# --- the sentences --------------------------------------------------------------------------------

_TURNED = {
    "private": "turned private",
    "hidden": "was hidden",
    "not_found": "was not found",
    "found": "is open again",
}
_STATUS_MEANS = {
    "private": "Its lists cannot be read until it opens; no one is counted as gained or lost.",
    "hidden": "The owner hides this list; no one is counted as gained or lost while it is hidden.",
    "not_found": "The handle is gone: deleted, banned or renamed. If it was renamed, track the new "
    "handle.",
    "found": "It can be read again; the next figures are compared across the gap.",
}


def _what(alert: Alert) -> str:
    if isinstance(alert, StatusChange):
        what = "profile" if len(alert.relations) > 1 else f"{alert.relations[0]} list"
        return f"{what} {_TURNED[alert.to_status]}"
    if isinstance(alert, ChurnSpike):
        return f"{counted(alert.accounts, 'follower')} {alert.change} {_span(alert)}"
    if isinstance(alert, NotableChange):
        return _notable_title(alert)
    if isinstance(alert, Stale):
        what = "no usable list" if len(alert.relations) > 1 else f"no usable {alert.relations[0]}"
        return f"{what} for {counted((alert.today - _stale_from(alert)).days, 'day')}"
    if isinstance(alert, DayFailed):
        lists = counted(alert.lists, "list")
        if alert.healed:
            return f"{lists} that failed since {alert.since} can be read again"
        return f"{lists} could not be read on {alert.since}"
    assert isinstance(alert, CreditsLow)
    return f"Credits are low: {alert.reading.balance:,} left"


def said(alert: Alert) -> str:
    """Since when, and what it was before."""
    if isinstance(alert, StatusChange):
        return (
            f"{alert.from_status} → {alert.to_status} on {alert.changed_on} (UTC), last seen "
            f"{alert.from_status} on {alert.previous_date}."
        )
    if isinstance(alert, ChurnSpike):
        total = "" if alert.followers_total is None else f" Now {alert.followers_total:,} in all."
        return (
            f"{alert.accounts:,} {alert.change} between {alert.previous_date} and "
            f"{alert.snapshot_date} (UTC); in the 28 days before it was {_rate(alert.usual)} a day "
            f"and never more than {_rate(alert.most)}.{total}"
        )
    if isinstance(alert, NotableChange):
        who = "; ".join(_account(one) for one in alert.accounts[:NAMED])
        more = len(alert.accounts) - NAMED
        who += f"; and {more:,} more" if more > 0 else ""
        return f"Between {alert.previous_date} and {alert.snapshot_date} (UTC): {who}."
    if isinstance(alert, Stale):
        if alert.last_usable is None:
            before = f"None since its first snapshot on {_stale_from(alert)} (UTC)"
        else:
            before = f"The last one is of {alert.last_usable} (UTC)"
        return f"{before}; the newest snapshot, of {alert.last_snapshot}, says {_last(alert)}."
    if isinstance(alert, DayFailed):
        who = ", ".join(_shown(handle) for handle in alert.handles[:NAMED])
        more = len(alert.handles) - NAMED
        who += f" and {more:,} more" if more > 0 else ""
        if alert.healed:
            return f"The lists of {who} are stored again on {alert.healed_on} (UTC)."
        return f"{who}: {_quoted(' | '.join(alert.reasons)) or 'the run did not say why'}"
    assert isinstance(alert, CreditsLow)
    usual = (
        f"; the days before took {alert.a_day:,.0f} each, so it is enough for "
        f"{_rate(alert.reading.balance / alert.a_day)} days"
        if alert.a_day
        else ""
    )
    return f"{alert.reading.balance:,} left on {alert.reading.day} (UTC){usual}."


def means(alert: Alert) -> str:
    """What it means for the figures, and what to do."""
    if isinstance(alert, StatusChange):
        return _STATUS_MEANS[alert.to_status]
    if isinstance(alert, ChurnSpike):
        if alert.change == "lost":
            return (
                "Later lists confirm that they are gone. So many at once are most often a purge by "
                "TikTok or bots that leave together."
            )
        return (
            "They count as gained. Whether they stay is in the view weekly_retention: bought "
            "followers leave again."
        )
    if isinstance(alert, NotableChange):
        return "The lists confirm it; the view notable_changes has them all."
    if isinstance(alert, Stale):
        return (
            "No one is counted as gained or lost since; the next usable list is compared across "
            "the gap. See its failed partitions and `sf-assets doctor`, or stop tracking it."
        ).replace("`", "")
    if isinstance(alert, DayFailed):
        if alert.healed_on == alert.since:
            return "Nothing was missed: the day was not over."
        if alert.healed:
            return (
                "What was missed in between cannot be fetched any more; the next figures are "
                "compared across the gap. sf-assets doctor names the days."
            )
        return (
            "It is tried again after growing pauses until midnight (UTC); nothing is bought twice. "
            "You are told when the lists are stored again."
        )
    return (
        "When they are spent, lists are cut short, and a day that was missed cannot be bought "
        "later. Top up, or read less: sf-assets track HANDLE --pages N."
    )


def _rows(alert: Alert) -> list[tuple[str, str]]:
    """The same for a mail: (label, text)."""
    rows = [("What", said(alert)), ("Since", f"{alert.day} (UTC)")]
    if alert.previous_day is not None and isinstance(alert, (StatusChange, Stale)):
        rows.append(("Before", f"{_was(alert)}, last on {alert.previous_day}"))
    return [*rows, ("It means", means(alert))]


def _line(alert: Alert) -> str:
    if not isinstance(alert, StatusChange):
        return title(alert)
    return f"{title(alert)} ({alert.from_status} → {alert.to_status})"


def _was(alert: Alert) -> str:
    if isinstance(alert, StatusChange):
        return alert.from_status
    if isinstance(alert, ChurnSpike):
        return f"{_rate(alert.usual)} a day"
    if isinstance(alert, NotableChange):
        return "not listed" if alert.change == "came" else "listed"
    if isinstance(alert, DayFailed):
        return "failed" if alert.healed else "stored"
    return "usable" if isinstance(alert, Stale) else "enough"


def _now(alert: Alert) -> str:
    if isinstance(alert, StatusChange):
        return alert.to_status
    if isinstance(alert, ChurnSpike):
        return f"{alert.accounts:,} {alert.change}"
    if isinstance(alert, NotableChange):
        return "listed" if alert.change == "came" else "not listed"
    if isinstance(alert, Stale):
        return alert.last_status if alert.last_status != "found" else "stale"
    if isinstance(alert, DayFailed):
        return "stored" if alert.healed else "failed"
    assert isinstance(alert, CreditsLow)
    return f"{alert.reading.balance:,}"


def _span(alert: ChurnSpike) -> str:
    days = (alert.snapshot_date - alert.previous_date).days
    return "in a day" if days == 1 else f"in {days} days"


def _stale_from(alert: Stale) -> date:
    return date.fromisoformat(alert.id.partition("/")[0])


def _last(alert: Stale) -> str:
    if alert.last_status != "found":
        return alert.last_status
    return (
        "found, but its list could not be used"
        if alert.last_snapshot > _stale_from(alert)
        else "found: since then none was taken, or none finished"
    )


def _notable_title(alert: NotableChange) -> str:
    one = alert.accounts[0]
    if alert.relations == ("following",):
        who = (
            _stranger(one.account_handle)
            if len(alert.accounts) == 1
            else (f"{len(alert.accounts):,} notable accounts")
        )
        return f"follows {who} now" if alert.change == "came" else f"no longer follows {who}"
    if len(alert.accounts) > 1:
        return f"{len(alert.accounts):,} notable followers {alert.change}"
    return f"notable follower {_stranger(one.account_handle)} {alert.change}"


def _account(one: NotableAccount) -> str:
    notes = ["verified"] if one.verified else []
    notes += [f"{counted(one.followers, 'follower')}"] if one.followers is not None else []
    name = _plain_name(one.display_name)
    return f"{_stranger(one.account_handle)} ({', '.join([*([name] if name else []), *notes])})"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:,.1f}"


# --- what strangers chose -------------------------------------------------------------------------

# What a chat reads as a call to everybody, whatever follows.
_CALLS = re.compile(r"(everyone|here|channel|all|room|group|team|online)", re.IGNORECASE)


def _shown(handle: str) -> str:
    # Normalised handles hold nothing but a-z, 0-9, dots and underscores; this text leaves the
    # house, so it does not lean on that.
    plain = re.sub(r"[^A-Za-z0-9._]", "?", handle)
    # A zero-width space: a person reads the handle, a chat wakes nobody.
    return f"@\u200b{plain}" if _CALLS.match(plain) else f"@{plain}"


def _stranger(handle: str) -> str:
    """A handle somebody else chose: it names nobody of the chat, and evil.com is no link."""
    plain = re.sub(r"[^A-Za-z0-9._]", "?", clean(handle))
    return f"@\u200b{plain}".replace(".", ".\u2060")


def _quoted(text: str) -> str:
    """Reasons hold the vendor's words and handles: they call nobody, and end somewhere."""
    short = clean(text, REASON_LENGTH)
    return short.replace("@", "@\u200b").replace("://", ":\u2060//")


def _plain_name(name: str | None) -> str:
    """A name as letters, digits, emoji and a little punctuation: nothing a chat could act on."""
    kept = "".join(
        char
        if unicodedata.category(char)[0] in "LMN"
        or unicodedata.category(char) == "So"
        or char in " ,'-!?\u200d"
        else "."
        if char == "."
        else " "
        for char in clean(name, NAME_LENGTH)
    )
    return " ".join(kept.replace(".", ".\u2060").split())


# --- forms ----------------------------------------------------------------------------------------

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
    """An alert for machines; the README has what each field means."""
    return {
        "version": JSON_VERSION,
        "kind": alert.kind,
        "id": alert.id,
        "ids": list(alert.change_ids),
        "handle": alert.handle,
        "relations": list(alert.relations),
        "title": title(alert),
        "since": str(alert.day),
        "was": _was(alert),
        "now": _now(alert),
        "previous_date": str(alert.previous_day) if alert.previous_day else None,
        "means": means(alert),
        "level": alert.level,
        "links": {"ui": ui + alert.place if ui else None, "profile": _profile(alert)},
        "details": alert.details,
    }


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
