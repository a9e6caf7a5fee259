"""Names of people who are merely listed are in the home, and nowhere in Dagster's storage."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sf_assets.cli.runner import dagster_instance
from sf_assets.model import ALERT_KINDS
from sf_assets.text import first_line
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.defs.conftest import DAY, Location
from sf_assets_tests.defs.test_alert_sensor import asked, deliver
from sf_assets_tests.loopback import Reply, Request, ScriptedServer
from sf_assets_tests.served_lists import KEY, OMIT, ListServer, account, followed

# In each handle, name and bio of those who are listed, and in nothing else.
MARKS = re.compile(rb"quokka|Wombat|Numbat", re.IGNORECASE)
NO_IDS = {"platformUserId": OMIT, "secUid": OMIT}


def person(n: int, make: Any = account, **over: Any) -> dict[str, Any]:
    named = {"handle": f"quokka{n}", "displayName": f"Wombat {n}", "bio": f"Numbat {n}"}
    return dict(make(n, **{**named, **over}))  # type: ignore[no-any-return]


def big(n: int, **over: Any) -> dict[str, Any]:
    return person(n, verified=True, **over)


def on(number: int) -> date:
    return DAY + timedelta(days=number)


def days() -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Followers and followed of a day: people of every kind come, are renamed, and leave."""
    steady = [person(n) for n in range(40, 0, -1)]
    yield [*steady[:5], big(99), *steady[5:]], [person(1, followed)]
    came = [
        big(101),
        big(102, **NO_IDS),
        person(103, **NO_IDS),
        *(person(n) for n in range(130, 104, -1)),
    ]
    for number in range(3):
        rest = [
            person(n, handle=f"quokka{n}new") if n == 7 else one for n, one in enumerate(steady)
        ]
        strange = person(
            140, displayName="Wombat\u202e<b>", metrics={"followers": -1, "following": 1}
        )
        followed_now = [big(150, make=followed), *([] if number else [person(2, followed)])]
        yield [strange, *came, *(rest[:20] if number < 2 else rest[:10])], followed_now


@pytest.mark.filterwarnings("ignore:Handling yaml-defined logging")
def test_no_event_run_tag_or_log_names_who_is_merely_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_the_contract(request: Request) -> Reply | None:
        broken = {"lookupStatus": "found", "followers": [person(160)], "totalFollowers": 1}
        return Reply(json={"data": broken}) if "/broken/" in request.path else None

    monkeypatch.setenv("SF_ASSETS_ALERTS", ",".join(ALERT_KINDS))
    with ListServer() as server, ScriptedServer(lambda request: Reply(json={})) as hook:
        server.fault = breaks_the_contract
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY)
        pipeline.track("open")
        pipeline.track("broken", relations=["followers"])
        for number, (followers, following) in enumerate(days()):
            server.set("open", "followers", followers)
            server.set("open", "following", following)
            pipeline.snapshot(on(number), "open", "broken", derive=number in (1, 3))
            if number not in (1, 3):
                continue
            monkeypatch.setenv("SF_ASSETS_ALERT_URLS", f"json://127.0.0.1:{hook.port}/")
            with dagster_instance(pipeline.home) as instance:
                location = Location(pipeline.home, instance)
                requests = asked(location)
                assert all(deliver(location, request) for request in requests)
                again = asked(location)
                assert not again
    told = b"".join(one.body for one in hook.requests)
    assert {b"quokka99", b"quokka101", b"quokka102"} <= set(re.findall(rb"quokka\d+", told))
    with dagster_instance(pipeline.home) as instance:
        texts = [
            f"{run.tags} {run.run_config} {entry.user_message} {entry.dagster_event}"
            for run in instance.get_runs()
            for entry in instance.all_logs(run.run_id)
        ]
        came = [text for text in texts if "account_id" in text and str(7 * 10**18 + 101) in text]
    assert came, "a sample by account id is there"
    files = [path for path in pipeline.home.dagster.rglob("*") if path.is_file()]
    dumps = {
        path: "\n".join(sqlite3.connect(path).iterdump()).encode()
        for path in files
        if path.read_bytes().startswith(b"SQLite format 3\0")
    }
    assert len(dumps) >= 3
    for place, text in [
        *((str(path), path.read_bytes()) for path in files),
        *((str(path), dump) for path, dump in dumps.items()),
        *(("log", text.encode()) for text in texts),
    ]:
        found = MARKS.search(text)
        assert not found, (place, text[max(0, found.start() - 300) : found.end() + 50])
    # The days, their reasons and what was told are of the home, and name nobody either.
    for path in (pipeline.home.days,):
        assert not MARKS.search(path.read_bytes())


@pytest.mark.parametrize(
    "query",
    [
        """SELECT CAST('{"a": "Wombat\t"}' AS JSON)""",
        """SELECT from_json_strict('{"a": "Wombat"}', '{"a": "BIGINT"}')""",
        """SELECT CAST('Wombat' AS INTEGER)""",
        """SELECT CAST('{"it''s": 1, "Wombat": 2}' AS MAP(VARCHAR, INTEGER))""",
        """SELECT from_json('["Wombat"', '["VARCHAR"]')""",
        """SELECT from_base64('Wombat!')""",
    ],
)
def test_an_error_about_data_does_not_quote_them(query: str) -> None:
    with duckdb.connect() as con, pytest.raises(duckdb.Error, match="Wombat") as raised:
        con.execute(query).fetchall()
    said = first_line(raised.value)
    assert "Error: " in said
    assert "ombat" not in said


def test_an_error_about_a_file_names_it() -> None:
    error = duckdb.InvalidInputException(
        "Invalid Input Error: No magic bytes found at end of file '/srv/home/archive/a.parquet'"
    )
    assert first_line(error).endswith("'/srv/home/archive/a.parquet'")
