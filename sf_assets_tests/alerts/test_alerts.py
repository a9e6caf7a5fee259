"""What is told when a profile turns private or hidden: to whom, once, and without its address."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from sf_assets.alerts import (
    Alert,
    DeliveryFailed,
    StatusChange,
    body,
    deliver,
    delivered,
    find,
    note_delivered,
    services,
    title,
    undelivered,
)
from sf_assets.alerts.kinds import AlertContext, CreditsLow, DayFailed
from sf_assets.errors import SettingsError
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import writing
from sf_assets_tests.loopback import Reply, Request, ScriptedServer, certified

MONDAY, TUESDAY, WEDNESDAY = (date(2026, 3, day) for day in (2, 3, 4))

ALERT = StatusChange(
    change_ids=("one", "two"),
    handle="nasa",
    relations=("followers", "following"),
    from_status="found",
    to_status="private",
    day=TUESDAY,
    previous_day=MONDAY,
)

Change = tuple[str, str, str, str, date, date]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def webhook() -> Iterator[ScriptedServer]:
    """Takes what is posted below /good, refuses anything else."""

    def answer(request: Request) -> Reply:
        return Reply(200 if request.path.startswith("/good") else 500)

    with ScriptedServer(answer) as server:
        yield server


def alerts_of(
    home: Home, changes: Sequence[Change], since: date | None = None
) -> list[StatusChange]:
    """Alerts for rows of `status_changes` in a warehouse of their own."""
    with writing(home.warehouse) as con:
        for relation, handle, from_status, to_status, changed_on, previous in changes:
            con.execute(
                "INSERT INTO main.status_changes VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    relation, handle, from_status, to_status, changed_on, previous,
                    f"{changed_on}/{handle}/{relation}/{from_status}-{to_status}",
                ],
            )  # fmt: skip
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        first = since or date.min
        return StatusChange.find(AlertContext(con, home, WEDNESDAY, first, first))


def addressed(*urls: str) -> Settings:
    return Settings.model_validate({"alert_urls": ",".join(urls)})


# --- what there is to tell ------------------------------------------------------------------------


def test_without_changes_there_is_nothing_to_tell(home: Home) -> None:
    assert alerts_of(home, []) == []


def test_both_lists_changing_alike_are_one_alert(home: Home) -> None:
    (alert,) = alerts_of(
        home,
        [
            ("following", "nasa", "found", "private", TUESDAY, MONDAY),
            ("followers", "nasa", "found", "private", TUESDAY, MONDAY),
        ],
    )
    assert alert == StatusChange(
        change_ids=(
            "2026-03-03/nasa/followers/found-private",
            "2026-03-03/nasa/following/found-private",
        ),
        handle="nasa",
        relations=("followers", "following"),
        from_status="found",
        to_status="private",
        day=TUESDAY,
        previous_day=MONDAY,
    )
    assert alert.id == "2026-03-03/nasa/followers/found-private"


def test_lists_changing_apart_are_alerts_of_their_own(home: Home) -> None:
    found = alerts_of(
        home,
        [
            ("followers", "nasa", "found", "hidden", TUESDAY, MONDAY),
            ("following", "nasa", "found", "private", TUESDAY, MONDAY),
            ("following", "bob", "found", "private", TUESDAY, MONDAY),
            ("followers", "nasa", "hidden", "found", WEDNESDAY, TUESDAY),
        ],
    )
    told = [(alert.handle, alert.relations, alert.to_status) for alert in found]
    assert told == [
        ("bob", ("following",), "private"),
        ("nasa", ("followers",), "hidden"),
        ("nasa", ("following",), "private"),
        ("nasa", ("followers",), "found"),
    ]


def test_the_oldest_is_told_first(home: Home) -> None:
    found = alerts_of(
        home,
        [
            ("followers", "aaa", "found", "private", WEDNESDAY, TUESDAY),
            ("followers", "zzz", "found", "private", MONDAY, date(2026, 3, 1)),
            ("followers", "mmm", "found", "private", TUESDAY, MONDAY),
        ],
    )
    assert [alert.handle for alert in found] == ["zzz", "mmm", "aaa"]


def test_changes_before_a_day_can_be_left_out(home: Home) -> None:
    changes: list[Change] = [
        ("followers", "old", "found", "private", MONDAY, date(2026, 3, 1)),
        ("followers", "new", "found", "private", TUESDAY, MONDAY),
    ]
    assert [alert.handle for alert in alerts_of(home, changes, since=TUESDAY)] == ["new"]


def test_lists_seen_last_on_different_days_are_still_one_alert(home: Home) -> None:
    (alert,) = alerts_of(
        home,
        [
            ("followers", "nasa", "found", "private", WEDNESDAY, TUESDAY),
            ("following", "nasa", "found", "private", WEDNESDAY, MONDAY),
        ],
    )
    assert alert.previous_day == TUESDAY
    assert len(alert.change_ids) == 2


# --- how it is said -------------------------------------------------------------------------------


def test_the_title_says_who_and_what() -> None:
    assert title(ALERT) == "@nasa: profile turned private"


def test_one_list_alone_is_named() -> None:
    hidden = StatusChange(("one",), "nasa", ("following",), TUESDAY, MONDAY, "found", "hidden")
    assert title(hidden) == "@nasa: following list was hidden"


def test_the_text_says_since_when_and_what_it_means_for_the_figures() -> None:
    assert body(ALERT) == (
        "found → private on 2026-03-03 (UTC), last seen found on 2026-03-02. Its lists cannot be "
        "read while it is private, so no gain or loss is counted."
    )


@pytest.mark.parametrize("before", ["found", "hidden", "private", "not_found"])
@pytest.mark.parametrize("after", ["found", "hidden", "private", "not_found"])
def test_every_change_can_be_said(before: str, after: str) -> None:
    alert = StatusChange(("one",), "nasa", ("followers",), TUESDAY, MONDAY, before, after)
    assert title(alert).startswith("@nasa: followers list ")
    assert before in body(alert)


# --- what was told --------------------------------------------------------------------------------


def other(*change_ids: str) -> Alert:
    return StatusChange(change_ids, "bob", ("followers",), TUESDAY, MONDAY, "found", "hidden")


def test_before_the_first_delivery_nothing_was_told(home: Home) -> None:
    assert delivered(home) == set()
    assert undelivered([ALERT, other("three")], set()) == [ALERT, other("three")]


def test_what_was_told_is_not_told_again(home: Home) -> None:
    note_delivered(home, ALERT.change_ids, "1 address")
    note_delivered(home, ["four"], "log only")
    assert delivered(home) == {"one", "two", "four"}
    assert undelivered([ALERT, other("three")], delivered(home)) == [other("three")]


def test_a_second_list_that_follows_later_is_the_same_news(home: Home) -> None:
    note_delivered(home, ["two"], "1 address")
    assert undelivered([ALERT], delivered(home)) == []


def test_deliveries_are_for_the_owner_only(home: Home) -> None:
    note_delivered(home, ["one"], "1 address")
    assert stat.S_IMODE(home.deliveries.stat().st_mode) == 0o600
    noted = json.loads(home.deliveries.read_text(encoding="utf-8"))
    assert (noted["change_id"], noted["how"]) == ("one", "1 address")


def test_a_torn_line_tells_its_own_change_again_and_no_other(home: Home) -> None:
    note_delivered(home, ["one"], "1 address")
    note_delivered(home, ["two"], "1 address")
    whole = home.deliveries.read_bytes()
    start = whole.index(b"\n") + 1
    for length in range(start, len(whole) - 1):
        home.deliveries.write_bytes(whole[:length])
        assert delivered(home) == {"one"}, length
        note_delivered(home, ["three"], "1 address")
        assert delivered(home) == {"one", "three"}, length


@pytest.mark.parametrize("line", [b"3\n", b"null\n", b"[]\n", b"\xff\xfe\n", b"\0\0\0\n", b"\n"])
def test_a_foreign_line_hides_no_delivery(home: Home, line: bytes) -> None:
    note_delivered(home, ["one"], "1 address")
    home.deliveries.write_bytes(line + home.deliveries.read_bytes() + line)
    assert delivered(home) == {"one"}


# --- sending --------------------------------------------------------------------------------------


def test_without_addresses_nothing_is_sent(home: Home) -> None:
    assert deliver(home, [ALERT], addressed()) == 0


def test_an_alert_reaches_every_address_with_title_and_text(
    home: Home, webhook: ScriptedServer
) -> None:
    urls = [f"json://127.0.0.1:{webhook.port}/good/{n}" for n in (1, 2)]
    assert deliver(home, [ALERT], addressed(*urls)) == 2
    assert sorted(request.path for request in webhook.requests) == ["/good/1", "/good/2"]
    for request in webhook.requests:
        posted = json.loads(request.body)
        assert posted["title"] == "@nasa: profile turned private"
        assert posted["message"] == body(ALERT)


def test_an_address_of_a_tag_gets_what_is_about_handles_of_that_tag_alone(
    home: Home, webhook: ScriptedServer
) -> None:
    base = f"json://127.0.0.1:{webhook.port}/good"
    home.registry.write_text(
        f"alerts: {{addresses: {{space: {base}/space, press: [{base}/press, {base}/all]}}}}\n"
        "handles: {nasa: {tags: [space]}, bbc: {tags: [press]}, fox: {tags: [space, press]}}\n"
    )
    failed = DayFailed(("f",), None, ("followers",), TUESDAY, None, 2, ("nasa", "bbc"), ("down",))
    low = CreditsLow(("c",), None, (), TUESDAY, None, 5, 9.0)
    about = [replace(ALERT, change_ids=(name,), handle=name) for name in ("nasa", "bbc", "fox")]
    news = [*about, failed, low]
    deliver(home, news, addressed(f"{base}/all"))
    heard: dict[str, list[str]] = {}
    for request in webhook.requests:
        heard.setdefault(request.path[6:], []).append(json.loads(request.body)["alert"]["id"])
    assert heard == {
        "space": ["nasa", "fox"],
        "press": ["bbc", "fox"],
        "all": ["nasa", "bbc", "fox", "f", "c"],  # the setting's: everything, and each once
    }
    assert delivered(home) == {one.id for one in news}


def test_tags_limit_what_is_told_to_their_handles_and_to_the_whole_home(home: Home) -> None:
    home.registry.write_text(
        "alerts: {tags: [space]}\nhandles: {nasa: {tags: [space]}, bbc: {tags: [press]}}\n"
    )
    alerts_of(
        home,
        [("followers", name, "found", "private", TUESDAY, MONDAY) for name in ("nasa", "bbc")],
    )
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        told = find(con, home, Settings(home=home.root, alerts=("status",)), remember=False)
    assert [one.handle for one in told] == ["nasa"]


def test_an_address_that_refuses_is_told_without_showing_it(
    home: Home, webhook: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    urls = [
        f"json://127.0.0.1:{webhook.port}/good/token",
        f"json://user:hushhush@127.0.0.1:{webhook.port}/bad/token",
    ]
    with pytest.raises(DeliveryFailed) as caught:
        deliver(home, [ALERT], addressed(*urls))
    assert str(caught.value) == (
        "1 of 2 alert addresses did not accept the message about @nasa; it will be sent again"
    )
    shown = str(caught.value) + caplog.text
    assert "hushhush" not in shown
    assert "token" not in shown
    assert [request.path for request in webhook.requests] == ["/good/token", "/bad/token"]


def test_an_address_where_nobody_listens_is_a_failed_delivery(home: Home) -> None:
    with ScriptedServer(lambda request: Reply()) as gone:
        port = gone.port
    with pytest.raises(DeliveryFailed, match="1 of 1"):
        deliver(home, [ALERT], addressed(f"json://127.0.0.1:{port}/token"))


@pytest.mark.parametrize("url", ["nothing://hushhush@x", "json://:hushhush", "slack://hushhush"])
def test_what_is_no_address_is_told_by_its_place_and_sends_nothing(
    home: Home, webhook: ScriptedServer, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    caplog.set_level(logging.DEBUG)
    good = f"json://127.0.0.1:{webhook.port}/good"
    with pytest.raises(DeliveryFailed, match="address 2 of SF_ASSETS_ALERT_URLS is no") as caught:
        deliver(home, [ALERT], addressed(good, url))
    assert "hushhush" not in str(caught.value) + caplog.text
    assert webhook.requests == []  # else the good address would get it with every try


def test_apprise_may_speak_again_after_an_address_was_read(
    home: Home, webhook: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DeliveryFailed):
        deliver(home, [ALERT], addressed(f"json://127.0.0.1:{webhook.port}/bad"))
    assert "Failed to send JSON POST notification" in caplog.text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
def test_certificates_and_proxies_that_the_environment_names_count_for_alerts(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle")) or name.startswith("SSL_CERT"):
            monkeypatch.delenv(name)
    tls, certificate = certified(home.root)
    with ScriptedServer(lambda _: Reply(200), tls) as server:
        settings = addressed(server.url.replace("https://", "jsons://"))
        with pytest.raises(DeliveryFailed):
            deliver(home, [ALERT], settings)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert deliver(home, [ALERT], settings) == 1
        assert len(server.requests) == 1
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(SettingsError, match=r"^SSL_CERT_FILE: .* /nowhere"):
        services(settings)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(SettingsError, match=r"^HTTPS_PROXY: socks5://"):
        services(settings)
