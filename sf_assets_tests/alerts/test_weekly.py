"""The weekly digest: its figures by plain Python over the lists, who gets it, and when."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError

from sf_assets.alerts import deliver, messages
from sf_assets.alerts.kinds import AlertContext, Weekly
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets_tests.alerts.test_words import MailServer
from sf_assets_tests.lists import Lists, Told, on
from sf_assets_tests.loopback import Reply, ScriptedServer

MONDAY = date(2026, 11, 9)  # the week before it is days 2 to 8


@pytest.fixture
def digests(tmp_path: Path) -> Iterator[list[Weekly]]:
    """Three handles: `nova` moves every day, `twin` misses days, `shy` is private."""
    lists = Lists(tmp_path)
    lists.tell(
        *(
            Told(day, "nova", tuple(n for n in range(20 + day, 0, -1) if n != 3 or day < 5))
            for day in range(1, 11)
        ),
        *(Told(day, "twin", tuple(range(5 + day, 0, -1))) for day in (1, 4, 8)),
        *(Told(day, "shy", status="private") for day in range(1, 9)),
    )
    (tmp_path / "handles.yaml").write_text(
        "alerts: {addresses: {acme: 'json://127.0.0.1:9'}}\n"
        "handles: {nova: {tags: [acme]}, twin: {}, shy: {}}\n"
    )
    look = AlertContext(lists.con, Home(tmp_path), on(10), on(1), on(1), MONDAY)
    yield Weekly.find(look)
    lists.close()


def test_the_week_is_what_the_lists_were(digests: list[Weekly]) -> None:
    everybody, of_tag = digests
    # The newest total, and each net against the snapshot before: of twin, day 8 against day 1.
    assert [tuple(week) for week in everybody.weeks] == [
        ("twin", 13, 13 - 6, 7, 0, 2),
        ("nova", 27, 27 - 21, 7, 1, 7),
        ("shy", None, None, None, None, 0),
    ]
    assert [week.handle for week in of_tag.weeks] == ["nova"]
    assert [one.id for one in digests] == ["2026-11-09/weekly", "2026-11-09/weekly/acme"]
    (message,) = messages([everybody])
    assert message.title == "The week from 2026-11-02 to 2026-11-08"
    assert "2 handles of 3 with a total, followers: 40, net: 13, came: 14, left: 1." in message.body
    assert "@twin: 13 followers, +7; 7 came, 0 left (2 days of 7 with a total)" in message.body
    assert "@shy: no total this week" in message.body
    assert "Since:" not in message.html
    ((name, svg),) = message.charts
    assert name == "followers.svg"
    assert svg.count("<svg") == 1
    assert "<script" not in svg


def test_a_week_without_any_figure_is_not_one_of_zeros(digests: list[Weekly]) -> None:
    nothing = replace(digests[0], weeks=digests[0].weeks[-1:], totals=())
    (message,) = messages([nothing])
    assert "followers: unknown, net: unknown, came: unknown, left: unknown" in message.body
    assert not message.charts


def test_the_digest_of_a_tag_goes_to_the_addresses_of_the_tag_alone(
    digests: list[Weekly], tmp_path: Path
) -> None:
    with ScriptedServer(lambda _: Reply(200)) as hook, MailServer() as post:
        home = Home(tmp_path)
        home.registry.write_text(
            f"alerts: {{addresses: {{acme: 'json://127.0.0.1:{hook.port}/acme'}}}}\n"
            "handles: {nova: {tags: [acme]}, twin: {}, shy: {}}\n"
        )
        threading.Thread(target=post.serve_forever, daemon=True).start()
        deliver(home, digests, Settings.model_validate({"alert_urls": post.address}))
        post.shutdown()
        (told,) = [json.loads(request.body)["alert"] for request in hook.requests]
        assert told["details"]["tag"] == "acme"
        (mail,) = post.mails
    assert "The week from" in str(mail["subject"])
    attached = [part.get_filename() for part in mail.walk() if part.get_filename()]
    assert attached == ["followers.svg"]


@pytest.mark.parametrize(
    ("today", "weekly", "day"),
    [("2026-11-09", "mon 8", 9), ("2026-11-10", "mon 8", 9), ("2026-11-08", "sun 23", 8),
     ("2026-11-08", "mon 0", 2)],
)  # fmt: skip
def test_a_pretended_day_is_over(today: str, weekly: str, day: int) -> None:
    settings = Settings(
        base_url="http://127.0.0.1:1", today=date.fromisoformat(today), weekly=weekly
    )
    assert settings.digest_day() == date(2026, 11, day)


def test_before_its_hour_the_week_before_counts() -> None:
    now = datetime.now(timezone.utc)
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    today = names[now.weekday()]
    assert Settings(weekly=f"{today} 0").digest_day() == now.date()
    if now.hour < 23:
        late = Settings(weekly=f"{today} 23").digest_day()
        assert late == now.date() - timedelta(days=7)
    for wrong in ("monday 8", "mon", "mon 24", "8 mon", ""):
        with pytest.raises(ValidationError, match="must be a weekday and an hour"):
            Settings(weekly=wrong)
