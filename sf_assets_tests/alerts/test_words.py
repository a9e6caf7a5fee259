"""What an alert says in a chat, a mail and to a machine; what strangers write in it is harmless."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from collections.abc import Iterator
from datetime import date
from email import policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from sf_assets.alerts import Alert, StatusChange, deliver, messages, send_sample
from sf_assets.alerts.kinds import (
    KINDS,
    ChurnSpike,
    CreditsLow,
    Milestone,
    NotableAccount,
    NotableChange,
    Purge,
    Stale,
    Wave,
)
from sf_assets.alerts.words import DIGEST_ABOVE
from sf_assets.model import ALERT_KINDS
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets_tests.looks.conftest import HOSTILE
from sf_assets_tests.loopback import Reply, ScriptedServer

DAY, BEFORE = date(2026, 3, 3), date(2026, 3, 2)
UI = "http://127.0.0.1:3000"
BOTH = ("followers", "following")


def came(*accounts: tuple[str, str]) -> NotableChange:
    """Accounts with these handles and names came to @nasa's list."""
    found = tuple(
        NotableAccount(f"notable/{n}", str(n), handle, name, n == 0, 20_000 + n)
        for n, (handle, name) in enumerate(accounts)
    )
    ids = tuple(one.change_id for one in found)
    return NotableChange(ids, "nasa", ("followers",), DAY, BEFORE, "came", found)


CHANGED = StatusChange(("a/1", "a/2"), "nasa", BOTH, DAY, BEFORE, "found", "private")
SPIKE = ChurnSpike(("b",), "nasa", ("followers",), DAY, BEFORE, "lost", 180, 2.0, 5, 1720)
NOTABLE = came(("bigone", "Big One"))
STALE = Stale((f"{BEFORE}/nasa/followers/stale",), "nasa", ("followers",), date(2026, 3, 5),
              BEFORE, date(2026, 3, 5), "hidden", date(2026, 3, 6))  # fmt: skip
POOR = CreditsLow(("e",), None, (), DAY, None, 1234, 500.0)
EVERY_KIND: list[Alert] = [CHANGED, SPIKE, NOTABLE, STALE, POOR]


def test_each_kind_that_can_be_switched_on_has_one_class() -> None:
    assert tuple(sorted(KINDS)) == tuple(sorted(ALERT_KINDS))
    assert all(found.kind == kind for kind, found in KINDS.items())


class Seen(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


# --- the words ------------------------------------------------------------------------------------


def test_each_kind_says_who_what_since_when_and_what_it_means() -> None:
    said = {one.data["kind"]: (one.title, one.body) for one in messages(EVERY_KIND)}
    assert said == {
        "status": (
            "@nasa: profile turned private",
            "found → private on 2026-03-03 (UTC), last seen found on 2026-03-02. Its lists cannot "
            "be read while it is private, so no gain or loss is counted.",
        ),
        "churn": (
            "@nasa: 180 followers lost in a day",
            "180 lost between 2026-03-02 and 2026-03-03 (UTC). In the 28 days before, the median "
            "was 2 a day and the maximum 5. The total is 1,720. Later lists confirm these losses. "
            "Many losses on one day are most often a purge by TikTok or bots that leave together.",
        ),
        "notable": (
            "@nasa: notable follower @\u200bbigone came",
            "Between 2026-03-02 and 2026-03-03 (UTC): @\u200bbigone (Big One, verified, 20,000 "
            "followers). The lists confirm it. The view notable_changes has all notable accounts.",
        ),
        "stale": (
            "@nasa: no usable followers for 4 days",
            "The last usable list is of 2026-03-02 (UTC). The newest snapshot, of 2026-03-05, is "
            "hidden. No gain or loss is counted since then. The next usable list is compared "
            "across the gap. Look at its failed partitions and run sf-assets doctor, or untrack "
            "it.",
        ),
        "credits": (
            "Credits are low: 1,234 left",
            "1,234 credits left on 2026-03-03 (UTC); the days before cost 500 each, so they last "
            "for 2.5 days. Without credits, lists are cut short, and a missed day cannot be read "
            "later. Top up, or read less: sf-assets track HANDLE --pages N.",
        ),
    }


def test_events_say_how_many_how_unusual_and_what_they_have_in_common() -> None:
    nobody = (None,) * 4
    purge = Purge(
        *(("p",), "nasa", ("followers",), DAY, BEFORE, 180, 2.0, -178, 1_720, None),
        *("following_per_follower", "10 and more", 0.91, 0.2),
    )
    hundred = Milestone(
        *(("m",), "nasa", ("followers",), DAY, BEFORE, None, None, 3, 1_002, 1_000), *nobody
    )
    wave = Wave(*(("w",), "nasa", ("followers",), DAY, BEFORE, 40, 1.0, None, 90, None), *nobody)
    assert [(one.title, one.body) for one in messages([purge, hundred, wave])] == [
        (
            "@nasa: purge: 180 followers left",
            "180 left between 2026-03-02 and 2026-03-03 (UTC), and the total changed by -178. The "
            "median before was 2 a day. Later lists confirm these losses. Most common property: "
            "following per follower 10 and more, 91 % of them against 20 % of all listed accounts.",
        ),
        (
            "@nasa: 1,000 followers",
            "1,002 followers on 2026-03-03 (UTC), for the first time at least 1,000. This is the "
            "total that the API reports. It includes banned and private accounts.",
        ),
        (
            "@nasa: wave: 40 followers came",
            "40 came between 2026-03-02 and 2026-03-03 (UTC). The median before was 1 a day. The "
            "view weekly_retention shows later how many of them stay.",
        ),
    ]


def test_the_followed_accounts_are_told_apart_from_followers() -> None:
    one = NOTABLE.accounts[0]
    titles = [
        messages([NotableChange(("x",), "nasa", ("following",), DAY, BEFORE, change, (one,))])[
            0
        ].title
        for change in ("came", "left")
    ]
    assert titles == ["@nasa: now follows @\u200bbigone", "@nasa: no longer follows @\u200bbigone"]


def test_many_accounts_are_named_up_to_ten() -> None:
    (message,) = messages([came(*((f"fan{n}", f"Fan {n}") for n in range(14)))])
    assert message.title == "@nasa: 14 notable followers came"
    assert "fan9 (" in message.body
    assert "fan10" not in message.body
    assert "and 4 more" in message.body
    assert len(message.data["details"]["accounts"]) == 14


@pytest.mark.parametrize("alert", EVERY_KIND, ids=lambda one: one.kind)
def test_links_lead_into_the_ui_only_where_its_address_is_known(alert: Alert) -> None:
    ((with_ui,), (without,)) = messages([alert], UI), messages([alert])
    place = f"{UI}/assets/"
    assert with_ui.body.splitlines()[-1].startswith(place)
    assert f"[Open in Dagster]({place}" in with_ui.markdown
    assert Seen(with_ui.html).links[0].startswith(place)
    assert with_ui.data["links"]["ui"].startswith(place)
    for text in (without.body, without.markdown, without.html, json.dumps(without.data)):
        assert "127.0.0.1" not in text


def test_a_change_of_status_leads_to_that_list_of_that_day() -> None:
    (message,) = messages([CHANGED], UI)
    assert message.data["links"] == {
        "ui": f"{UI}/assets/follower_snapshots?view=partitions&partition=2026-03-03%7Cnasa",
        "profile": "https://www.tiktok.com/@nasa",
    }


# --- for machines ---------------------------------------------------------------------------------


def test_the_fields_for_machines_are_these() -> None:
    (message,) = messages([CHANGED])
    assert message.data == {
        "version": 1,
        "kind": "status",
        "id": "a/1",
        "ids": ["a/1", "a/2"],
        "handle": "nasa",
        "relations": ["followers", "following"],
        "title": "@nasa: profile turned private",
        "since": "2026-03-03",
        "was": "found",
        "now": "private",
        "previous_date": "2026-03-02",
        "means": "Its lists cannot be read while it is private, so no gain or loss is counted.",
        "level": "warning",
        "links": {"ui": None, "profile": "https://www.tiktok.com/@nasa"},
        "details": {"from_status": "found", "to_status": "private"},
    }


def test_every_kind_has_the_same_fields_and_is_json() -> None:
    posts = [one.data for one in messages(EVERY_KIND, UI)]
    assert {tuple(post) for post in posts} == {tuple(posts[0])}
    assert json.loads(json.dumps(posts)) == posts


def test_a_digest_holds_each_of_its_alerts_whole() -> None:
    news = EVERY_KIND * 3
    assert len(news) > DIGEST_ABOVE
    (message,) = messages(news, UI)
    assert message.title == "15 alerts from 2026-03-03 to 2026-03-05 (UTC)"
    assert message.data["kind"] == "digest"
    assert message.data["alerts"] == [one.data for each in news for one in messages([each], UI)]


def test_machines_get_names_as_they_are() -> None:
    (message,) = messages([came(("everyone", HOSTILE[0]))])
    (account,) = message.data["details"]["accounts"]
    assert (account["account_handle"], account["display_name"]) == ("everyone", HOSTILE[0])


# --- what strangers write -------------------------------------------------------------------------

TRICKS = [
    *HOSTILE,
    "@everyone @here <!channel> <@U123>",
    "\uff20everyone",
    "https://evil.test/?q=1",
    "[x](https://evil.test) <https://evil.test|x>",
    "||hidden|| ~~gone~~ `code` > quote\n# head",
    ":skull: {{7*7}} %s ${x} &#64;everyone",
]


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.parametrize("handle", ["everyone", "evil.test", "here_", "a<b>[c](d)@e"])
def test_names_call_nobody_link_nowhere_and_format_nothing(handle: str, name: str) -> None:
    (message,) = messages([came((handle, name), ("plain", "Plain"))])
    for text in (message.title, message.body, message.markdown):
        assert not set("<>[]`|~#{}&$%") & set(text.replace("[Profile on TikTok]", "")), text
        assert "@everyone" not in text
        assert "@here" not in text
        assert "evil.test" not in text
        assert "://evil" not in text
        assert not set("\x07\x1b\u202e\uff20") & set(text)
    seen = Seen(message.html)
    assert seen.tags <= {"div", "h3", "p", "b", "a"}
    assert seen.links == ["https://www.tiktok.com/@nasa"]


def test_ordinary_names_stay_readable() -> None:
    (message,) = messages([came(("bob", "Zoë O'Hara-Müller, 김서연 🦊!"))])
    assert "(Zoë O'Hara-Müller, 김서연 🦊!, verified" in message.body


def test_markdown_shows_underscores_of_handles() -> None:
    changed = StatusChange(("a",), "_a_b_", BOTH, DAY, BEFORE, "found", "not_found")
    (message,) = messages([changed])
    assert "found → not\\_found" in message.markdown


# --- through Apprise ------------------------------------------------------------------------------


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail by SMTP on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails: list[EmailMessage] = []

    @property
    def address(self) -> str:
        return (
            f"mailto://127.0.0.1:{self.server_address[1]}/"
            "?from=a@example.org&to=b@example.org&mode=insecure"
        )


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline():
            command = line.strip().upper()
            if command == b"DATA":
                self._say("354 go on")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                mail = email.message_from_bytes(text, policy=policy.default)
                assert isinstance(mail, EmailMessage)
                self.server.mails.append(mail)
            elif command == b"QUIT":
                return self._say("221 bye")
            self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def post() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=10)


@pytest.fixture
def hook() -> Iterator[ScriptedServer]:
    """Takes what is posted, but for what is posted below /bad."""
    with ScriptedServer(
        lambda request: Reply(401 if request.path.startswith("/bad") else 200, json={})
    ) as server:
        yield server


def addressed(*urls: str) -> Settings:
    return Settings.model_validate({"alert_urls": ",".join(urls), "ui_url": UI})


def test_a_mail_has_a_title_a_page_and_a_text(tmp_path: Path, post: MailServer) -> None:
    deliver(Home(tmp_path), [CHANGED], addressed(post.address))
    (mail,) = post.mails
    assert mail["subject"] == "@nasa: profile turned private"
    page, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert page is not None
    assert text is not None
    (message,) = messages([CHANGED], UI)
    assert page.get_content().split() == message.html.split()
    assert "Meaning: Its lists cannot be read" in " ".join(text.get_content().split())


def test_webhooks_carry_the_fields_beside_title_and_text(
    tmp_path: Path, hook: ScriptedServer
) -> None:
    urls = [f"{kind}://127.0.0.1:{hook.port}/{kind}" for kind in ("json", "form", "xml")]
    deliver(Home(tmp_path), [CHANGED], addressed(*urls))
    (message,) = messages([CHANGED], UI)
    bodies = {request.path: request.body.decode() for request in hook.requests}
    posted = json.loads(bodies["/json"])
    assert posted["alert"] == message.data
    assert (posted["title"], posted["message"], posted["type"]) == (
        *(message.title, message.body),
        "warning",
    )
    form = parse_qs(bodies["/form"])
    assert json.loads(form["alert"][0]) == message.data
    assert form["message"] == [message.body]
    (field,) = ElementTree.fromstring(bodies["/xml"]).iter("alert")
    assert json.loads(field.text or "") == message.data


def test_the_fields_of_one_alert_do_not_stay_for_the_next(
    tmp_path: Path, hook: ScriptedServer
) -> None:
    url = f"json://127.0.0.1:{hook.port}/"
    deliver(Home(tmp_path), EVERY_KIND, addressed(url))
    kinds = [json.loads(request.body)["alert"]["kind"] for request in hook.requests]
    assert kinds == [one.kind for one in EVERY_KIND]


@pytest.mark.parametrize(
    ("options", "linked"), [("?format=markdown", True), ("?format=text", False), ("", False)]
)
def test_a_chat_gets_markdown_where_it_takes_it(
    tmp_path: Path, hook: ScriptedServer, options: str, linked: bool
) -> None:
    url = f"mmost://127.0.0.1:{hook.port}/abcdefghijklmnopqrstuvwxyz{options}"
    deliver(Home(tmp_path), [CHANGED], addressed(url))
    text = json.loads(hook.requests[0].body)["text"]
    assert ("[Open in Dagster](" in text) is linked
    assert "@nasa: profile turned private" in text
    assert "private on 2026-03-03" in text


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("slack://TJA1BCDE3/B1234ABCD/abcdefghijklmnopqrstuvwx/#general", "markdown"),
        ("discord://123456789012345678/abcdefghijklmnopqrstuvwxyz0123456789", "markdown"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "markdown"),
        ("mailtos://u:p@example.org", "html"),
        ("sendgrid://abcdefghijklmnopqrstuvwxyz:from@example.org/to@example.org", "html"),
        ("json://example.org", "text"),
    ],
)
def test_each_service_has_its_form(url: str, form: str) -> None:
    from sf_assets.alerts.delivery import _addresses

    (address,) = _addresses(addressed(url))
    assert address.form.value == form


def test_a_sample_is_marked_and_says_where_it_arrived(
    hook: ScriptedServer, post: MailServer, capfd: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(lambda request: Reply()) as gone:
        nobody = gone.port
    base = f"127.0.0.1:{hook.port}"
    urls = [
        *(f"json://{base}/good/hush", f"json://{base}/bad/hush", post.address),
        f"json://127.0.0.1:{nobody}/hush",
    ]
    arrivals = send_sample(addressed(*urls))
    assert [(one.service, one.arrived, one.why) for one in arrivals] == [
        ("JSON", True, ""),
        ("JSON", False, "HTTP 401"),
        ("E-Mail", True, ""),
        ("JSON", False, "no connection"),
    ]
    assert json.loads(hook.requests[0].body)["alert"]["kind"] == "test"
    for title in (json.loads(hook.requests[0].body)["title"], post.mails[0]["subject"]):
        assert title.startswith("TEST (nothing happened): ")
    shown = "".join(capfd.readouterr())
    assert "hush" not in shown
