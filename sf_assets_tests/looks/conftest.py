"""Two weeks of three handles, made once by the real pipeline, for all who look at them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date

import pytest

from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account, followed

MONDAY = date(2026, 11, 2)
TUESDAY, WEEK_LATER, NEWEST = date(2026, 11, 3), date(2026, 11, 10), date(2026, 11, 17)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[click](https://evil.test)",
    "![p](https://evil.test/p.png)",
    "www.evil.test me@evil.test",
    "| a | b |\n# head\n- item",
    "\u202egnp.exe\u202c \x07\x1b[31m",
    "{{ 7 * 7 }} {% raw %}",
    "`code` **bold** ~~gone~~ <b>&lt;",
]


def fans(*numbers: int) -> list[dict[str, object]]:
    """Followers; those from 201 on are large, and their names mean harm."""
    return [
        account(
            n,
            displayName=HOSTILE[(n - 201) % len(HOSTILE)],
            metrics={"followers": 1_000_000 + n, "following": 1},
        )
        if n > 200
        else account(n, verified=n == 101)
        for n in numbers
    ]


def friends(*numbers: int) -> list[dict[str, object]]:
    """Followed accounts that are the same people as the followers of these numbers."""
    same = ("handle", "displayName", "platformUserId", "secUid")
    return [
        followed(n, verified=False, **{name: account(n)[name] for name in same}) for n in numbers
    ]


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """`open` grows and loses, `twin` shares followers with it, `shy` turns private on day two."""
    before = dict(os.environ)
    all_fans = list(range(60, 0, -1))
    hostile = [209, 208, 207, 206, 205, 204, 203, 202, 201]
    without_7 = [n for n in all_fans if n != 7]
    lists = {
        MONDAY: all_fans,
        TUESDAY: [*hostile, 102, 101, *without_7],
        WEEK_LATER: [103, *hostile, 101, *without_7],
        NEWEST: [103, *hostile, 101, *without_7],
    }
    with ListServer() as server:
        root = tmp_path_factory.mktemp("looks") / "home"
        pipeline = Pipeline(root, server.url, KEY, MONDAY)
        pipeline.track("open", "shy", "twin")
        for day, numbers in lists.items():
            server.set("open", "followers", fans(*numbers))
            server.set("open", "following", friends(9, 7, 5))
            server.set("twin", "followers", fans(*range(10, 0, -1)))
            server.set("twin", "following", friends(3))
            if day == MONDAY:
                server.set("shy", "followers", fans(33, 32, 31))
                server.set("shy", "following", friends(3))
            else:
                server.set("shy", "followers", status="private")
                server.set("shy", "following", status="private")
            results = pipeline.snapshot(day, "open", "shy", "twin", derive=day == NEWEST)
            assert all(result.success for result in results)
        yield pipeline
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def at_home(world: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The world, with the environment that it was made in."""
    monkeypatch.setenv("SF_ASSETS_HOME", str(world.home.root))
    monkeypatch.setenv("SF_ASSETS_START_DATE", MONDAY.isoformat())
    monkeypatch.setenv("SF_ASSETS_TODAY", NEWEST.isoformat())
    monkeypatch.setenv("SOCIALFETCH_BASE_URL", world.settings.base_url)
    return world
