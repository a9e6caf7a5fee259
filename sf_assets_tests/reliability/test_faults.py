"""What the vendor and the line between us may do: it heals, or it fails its own handle only."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from sf_assets.cli.runner import dagster_instance, failure_of
from sf_assets.defs.checks import evaluate
from sf_assets.ingest.reader import new_fields, pages_missing
from sf_assets.settings import load_settings
from sf_assets.social_fetch import ListWalk, parse_page
from sf_assets.storage.door import Door
from sf_assets.warehouse.rebuild import rebuild
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.homes import made_plain
from sf_assets_tests.loopback import RESET, Action, Endless, Reply, Request, Wait, head
from sf_assets_tests.served_lists import KEY, ListServer, account, error_body, followed

from .conftest import DAY1, World

Answer = Reply | Iterable[Action] | None


class Spoiler:
    """Disturbs the answers for a handle, once or always; all others are the server's."""

    def __init__(self, server: ListServer) -> None:
        self.server = server
        self.plans: dict[str, tuple[int, int, Callable[[dict[str, Any], bytes], Answer]]] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        server.fault = self._answer

    def spoil(
        self,
        handle: str,
        how: Callable[[dict[str, Any], bytes], Answer],
        *,
        page: int = 2,
        times: int = 1,
    ) -> None:
        """`how` gets the right answer, as JSON and as bytes, and gives another one."""
        self.plans[handle] = (page, times, how)

    def _answer(self, request: Request) -> Answer:
        if "/profiles/" not in request.path:
            return None
        handle = request.path.split("/")[4]
        cursor = request.query.get("cursor", "")
        if handle not in self.plans:
            return None
        page, times, how = self.plans[handle]
        self.asked[handle, cursor] += 1
        number = 1 if not cursor else int(bytes.fromhex(cursor).decode().split("/")[2]) // 20 + 1
        if number != page or self.asked[handle, cursor] > times:
            return None
        right = self.server._page(handle, "followers", request.query)
        return how(json.loads(json.dumps(right.json)), json.dumps(right.json).encode())


def _replaced(**changes: Any) -> Callable[[dict[str, Any], bytes], Answer]:
    """The right answer with other values: `data__page__hasMore=True`, or a callable on the old."""

    def how(right: dict[str, Any], _: bytes) -> Answer:
        for path, value in changes.items():
            *parts, last = path.split("__")
            place: Any = right
            for part in parts:
                place = place[int(part)] if part.isdigit() else place[part]
            if value is KeyError:
                del place[last]
            else:
                place[last] = value
        return Reply(json=right)

    return how


def _error(status: int, code: str, **headers: str) -> Callable[[dict[str, Any], bytes], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda *_: Reply(status, json=error_body(code), headers=named)


def _raw(make: Callable[[bytes], Iterable[Action]]) -> Callable[[dict[str, Any], bytes], Answer]:
    return lambda _, body: make(body)


def _slowly(body: bytes) -> Iterator[Action]:
    yield head(content_length=len(body))
    for at in range(0, len(body), 1 + len(body) // 8):
        yield body[at : at + 1 + len(body) // 8]
        yield Wait(0.05)


# What a second try heals; how many credits the first one cost beside.
HEALS: dict[str, tuple[Callable[[dict[str, Any], bytes], Answer], int]] = {
    "status500": (_error(500, "internal_error"), 0),
    "status502": (_error(502, "lookup_failed"), 0),
    "status503": (_error(503, "temporarily_unavailable"), 0),
    "status503after": (_error(503, "temporarily_unavailable", retry_after="0"), 0),
    "status429": (_error(429, "temporarily_unavailable"), 0),
    "reset": (_raw(lambda body: [RESET]), 1),
    "reset_head": (_raw(lambda body: [head(content_length=len(body)), RESET]), 1),
    "reset_body": (_raw(lambda body: [head(content_length=len(body)), body[:99], RESET]), 1),
    "reset_after": (_raw(lambda body: [head(content_length=len(body)), body, RESET]), 0),
    "truncated": (_raw(lambda body: [head(content_length=99), body[:99]]), 1),
    "html": (lambda *_: Reply(body=b"<html>Just a moment...</html>"), 1),
    "not_utf8": (_raw(lambda body: [head(), body.replace(b"Fan", b"\xff\xfe")]), 1),
    "endless": (_raw(lambda body: [head(), body[:-1], Endless(b" " * 1_000_000)]), 1),
    "slow": (_raw(_slowly), 0),
    "cached": (_replaced(meta__cached=True), 0),
    "unknown_field": (_replaced(data__mood="fine", data__followers__0__aura=7), 0),
}

# What the walk of a list makes of a strange page: end reason, and accounts listed of 60.
STRANGE: dict[str, tuple[Callable[[dict[str, Any], bytes], Answer], str, int]] = {
    "empty_page": (_replaced(data__followers=[]), "exhausted", 40),
    "same_cursor": (
        _replaced(data__page__nextCursor=b"followers/same_cursor/20".hex()),
        "stalled",
        40,
    ),
    "no_cursor": (_replaced(data__page__nextCursor=None), "stalled", 40),
}

# What fails its own handle: what is said.
FAILS: dict[str, tuple[Callable[[dict[str, Any], bytes], Answer], str]] = {
    "new_status": (_replaced(data__lookupStatus="suspended"), "lookupStatus is 'suspended'"),
    "no_page": (_replaced(data__page=KeyError), "data.page: Field required"),
    "no_list": (_replaced(data__followers=KeyError), "data.followers: Field required"),
    "no_meta": (_replaced(meta=KeyError), "meta: Field required"),
    "always_html": (lambda *_: Reply(body=b"<html>Just a moment...</html>"), "not JSON"),
}

_METRICS = "data__followers__3__metrics__followers"
_DEEP = '{"a": ' * 900 + "1" + "}" * 900


def _written(text: str, other: str) -> Callable[[dict[str, Any], bytes], Answer]:
    return lambda _, body: Reply(body=body.replace(text.encode(), other.encode(), 1))


# What loses a field and no list: how many fields of the list are NULL then.
DAMAGED: dict[str, tuple[Callable[[dict[str, Any], bytes], Answer], int]] = {
    "text_total": (_replaced(data__totalFollowers="60"), 1),
    "huge_total": (_replaced(data__totalFollowers=2**63), 1),
    "total_below_0": (_replaced(data__totalFollowers=-1), 1),
    "no_total": (_replaced(data__totalFollowers=KeyError), 1),
    "count_below_0": (_replaced(**{_METRICS: -1}), 1),
    "count_in_words": (_replaced(**{_METRICS: "1.2M"}), 1),
    "count_with_point": (_replaced(**{_METRICS: 10.0}), 1),
    "count_is_nan": (_replaced(**{_METRICS: float("nan")}), 1),
    "count_is_endless": (_replaced(**{_METRICS: float("inf")}), 1),
    "huge_number": (_replaced(**{_METRICS: 10**30}), 1),
    "5000_digits": (_written('"following": 23}', f'"following": {"9" * 5000}}}'), 1),
    "true_number": (_replaced(**{_METRICS: True}), 1),
    "no_metrics": (_replaced(data__followers__3__metrics=KeyError), 1),
    "metrics_is_a_list": (_replaced(data__followers__3__metrics=[1]), 1),
    "deep_metrics": (_written('{"followers": 23, "following": 23}', _DEEP), 1),
    "deep_name": (_written('"Fan 23"', _DEEP), 1),
    "no_handle": (_replaced(data__followers__3__handle=KeyError), 1),
    "empty_handle": (_replaced(data__followers__3__handle=""), 1),
    "numeric_id": (_replaced(data__followers__3__platformUserId=7), 1),
    "ids_of_wrong_types": (
        _replaced(data__followers__3__platformUserId=[7], data__followers__3__secUid={"a": 1}),
        2,
    ),
    "verified_in_words": (_replaced(data__followers__3__verified="yes"), 1),
    "more_in_words": (_replaced(data__page__hasMore="yes"), 1),
    "odd_meta": (
        _replaced(meta__requestId=5, meta__creditsCharged=-1, meta__cached="no", meta__version=1),
        4,
    ),
    "dear_page": (_replaced(meta__creditsCharged=2**40), 1),
    "said_twice": (_written('"verified"', '"verified": true, "verified"'), 0),
    "raw_tab": (_written("Fan 2", "F\tn 2"), 0),
    "deep_unknown": (_written('"verified"', f'"aura": {_DEEP}, "verified"'), 0),
}

STRANGE_NAMES = [
    "\u202eevil\u202c", "zero\u200bwidth", "e\u0301\u0302\u0303", "\U0001f468\u200d\U0001f469",
    "nul\x00inside", "\x1b[31mred", "line\nbreak\r\ttab", '"; DROP TABLE snapshots; --',
    "'); DELETE FROM internal.snapshots; --", "=1+1", "@everyone", "<script>alert(1)</script>",
    "[x](javascript:alert(1))", "half \ud83d emoji", "\ufffe\uffff", "x" * 5_000, "", " ",
]  # fmt: skip


def test_each_fault_heals_or_fails_its_own_handle(tmp_path: Path) -> None:
    handles = [*HEALS, *STRANGE, *FAILS, *DAMAGED, "calm"]
    with ListServer() as server:
        spoiler = Spoiler(server)
        for handle in handles:
            server.set(handle, "followers", [account(n) for n in range(60)])
        for handle, (how, _) in HEALS.items():
            spoiler.spoil(handle, how)
        for handle, (how, *_) in STRANGE.items():
            spoiler.spoil(handle, how, times=99)
        for handle, (how, _) in DAMAGED.items():
            spoiler.spoil(handle, how, times=99)
        for handle, (how, _) in FAILS.items():
            spoiler.spoil(handle, how, times=99)
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track(*handles, relations=["followers"])
        (result,) = pipeline.snapshot(DAY1, *handles, relations=["followers"])

        assert not result.success
        said, refused, _ = failure_of(result)
        assert refused == ""
        assert f"{len(FAILS)} of {len(handles)} lists did not finish" in said
        rows = {
            row[0]: row[1:]
            for row in pipeline.ask(
                "SELECT handle, listed, completeness, end_reason FROM follower_snapshots"
            )
        }
        assert set(rows) == {*HEALS, *STRANGE, *DAMAGED, "calm"}
        for handle in (*HEALS, *DAMAGED, "calm"):
            assert rows[handle] == (60, "complete", "exhausted"), handle
        for handle, (_, end_reason, listed) in STRANGE.items():
            assert rows[handle] == (listed, "window", end_reason), handle

        # The page that could not be used is kept beside the landing, with its reason.
        folder = pipeline.home.landing / DAY1.isoformat() / "followers"
        kept = {
            path.name.partition(".jsonl")[0]: path.read_text()
            for path in folder.glob("*.quarantine")
        }
        assert set(kept) == set(FAILS)
        for handle, (_, reason) in FAILS.items():
            assert reason in json.loads(kept[handle].splitlines()[0])["reason"], handle

        damage = pipeline.ask(
            "SELECT handle, damaged_fields FROM follower_snapshots WHERE damaged_fields > 0"
        )
        assert dict(damage) == {handle: n for handle, (_, n) in DAMAGED.items() if n}
        with dagster_instance(pipeline.home) as instance:
            log = [str(one.user_message) for one in instance.all_logs(result.run_id)]
        (line,) = [text for text in log if "are stored as NULL" in text]
        assert all(f"{handle} followers {DAY1} {n}" in line for handle, n in damage)
        (check,) = [
            verdict
            for check, verdict in evaluate(pipeline.home, load_settings())
            if (check.asset, check.name) == ("follower_snapshots", "damaged_fields")
        ]
        assert {row[0] for row in check.notable} == dict(damage).keys()
        assert check.severity is dg.AssetCheckSeverity.WARN

        # The pages before the spoiled one are not bought again.
        before = server.credits
        spoiler.plans.clear()
        assert pipeline.snapshot(DAY1, *handles, relations=["followers"])[0].success
        assert server.credits - before == 2 * len(FAILS)
        assert pipeline.ask(
            "SELECT count(*), sum(listed) FROM snapshots WHERE completeness = 'complete'"
        ) == [(len(handles) - len(STRANGE), 60 * (len(handles) - len(STRANGE)))]


def test_a_damaged_field_is_null_and_a_rebuild_says_the_same(tmp_path: Path) -> None:
    people = [account(n) for n in range(5)]
    people[1] |= {"metrics": {"followers": -1, "following": 8}, "bio": 5, "verified": None}
    people[2] |= {"handle": "", "platformUserId": 12345, "displayName": ["a"]}
    people[3] |= {"avatarUrls": {"large": 5, "medium": "https://pictures.test/m"}, "secUid": 0.5}
    follows = [followed(n) for n in range(3)]
    follows[1] |= {"accountCreatedAt": "yesterday", "details": [1], "region": 7, "metrics": None}
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("odd")
        server.set("odd", "followers", people)
        server.set("odd", "following", follows, total=-1)
        (result,) = pipeline.snapshot(DAY1, "odd")
        assert result.success, failure_of(result)
        snapshots = "SELECT * EXCLUDE run_id FROM snapshots ORDER BY ALL"
        accounts = "SELECT * FROM accounts ORDER BY account_id"
        before = pipeline.ask(snapshots), pipeline.ask(accounts)
        # All that is landed goes: the archive alone has to say it.
        shutil.rmtree(pipeline.home.landing)
        rebuild(pipeline.home)
        assert (pipeline.ask(snapshots), pipeline.ask(accounts)) == before
    assert pipeline.ask(
        "SELECT relation, listed, reported_total, damaged_fields FROM snapshots ORDER BY 1"
    ) == [("followers", 5, 5, 8), ("following", 3, None, 5)]
    assert pipeline.ask(
        "SELECT account_handle, display_name, bio, verified, followers, following FROM accounts "
        "WHERE account_id LIKE '%1' AND profile_url IS NULL"
    ) == [("fan.1", "Fan 1", None, None, None, 8)]
    assert pipeline.ask(
        "SELECT account_handle, platform_user_id, display_name, sec_uid, followers FROM accounts "
        "WHERE account_id LIKE 'sec:%'"
    ) == [(None, None, None, people[2]["secUid"], 2)]
    assert pipeline.ask(
        "SELECT sec_uid, avatar_urls['large'], avatar_urls['medium'] FROM accounts "
        "WHERE account_handle = 'fan.3'"
    ) == [(None, None, "https://pictures.test/m")]
    assert pipeline.ask(
        "SELECT region, account_created_at, details, followers, posts FROM accounts "
        "WHERE account_handle = 'creator.1'"
    ) == [(None, None, None, None, None)]


def test_names_of_strangers_are_stored_as_they_came(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("odd", relations=["followers"])
        people = [
            account(n, displayName=name, bio=name, secUid=f"sec'{n}\";--")
            for n, name in enumerate(STRANGE_NAMES)
        ]
        server.set("odd", "followers", people)
        (result,) = pipeline.snapshot(DAY1, "odd", relations=["followers"])
        assert result.success, failure_of(result)
    stored = pipeline.ask("SELECT display_name, bio FROM accounts")
    wanted = [name.replace("\ud83d", "\ufffd") for name in STRANGE_NAMES]
    assert sorted(str(row[0]) for row in stored) == sorted(wanted)
    assert sorted(str(row[1]) for row in stored) == sorted(wanted)
    assert pipeline.ask("SELECT count(*) FROM snapshots") == [(1,)]


def test_a_new_status_is_said_in_one_sentence(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("odd", relations=["followers"])
        server.set("odd", "followers", status="age_restricted\x1b[2J")
        (result,) = pipeline.snapshot(DAY1, "odd", relations=["followers"], derive=False)
    said = failure_of(result).message
    assert r"lookupStatus is 'age_restricted\x1b[2J', which this version does not know" in said
    assert "found, hidden, private, not_found" in said
    assert "\x1b" not in said


def test_new_fields_are_kept_and_counted_once_a_run(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("new", "newer", relations=["followers"])
        for handle in ("new", "newer"):
            server.set(handle, "followers", [account(n, aura="blue") for n in range(50)])
        assert pipeline.snapshot(DAY1, "new", "newer", relations=["followers"])[0].success
        with dagster_instance(pipeline.home) as instance:
            observed = instance.fetch_observations(
                dg.AssetKey("follower_snapshots"), limit=10
            ).records
    (one,) = observed
    assert one.asset_observation is not None
    assert one.asset_observation.metadata["new_fields"].value == {"account.aura": 100}
    landed = made_plain(pipeline.home.landing / DAY1.isoformat() / "followers" / "new.jsonl")
    assert landed.read_text().count('"aura": "blue"') == 50


def test_new_fields_are_found_wherever_they_are() -> None:
    page = {
        "data": {
            "lookupStatus": "found",
            "followers": [
                account(1, metrics={"followers": 1, "following": 2, "likes": 3}),
                account(2),
            ],
            "page": {"nextCursor": None, "hasMore": False, "size": 2},
            "totalFollowers": 2,
            "region": "NO",
        },
        "meta": {"requestId": "r", "creditsCharged": 1, "version": "v1", "node": 7},
        "links": [],
    }
    assert new_fields(parse_page("followers", json.dumps(page).encode())) == {
        "links": 1,
        "data.region": 1,
        "data.page.size": 1,
        "meta.node": 1,
        "account.metrics.likes": 1,
    }


# --- money ----------------------------------------------------------------------------------------


def test_without_credits_it_says_how_many_are_missing_and_later_goes_on(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("early", "late", relations=["followers"])
        for handle in ("early", "late"):
            server.set(handle, "followers", [account(n) for n in range(200)])
        server.credits_left = 7
        (result,) = pipeline.snapshot(DAY1, "early", "late", relations=["followers"], derive=False)
        said, refused, _ = failure_of(result)
        assert refused == "credits"
        assert "the rest of 2 lists needs about 13 more credits" in said
        asked = len(server.asked)
        assert pipeline.ask("SELECT sum(pages), min(end_reason) FROM snapshots") == [
            (7, "out_of_credits")
        ]
        assert pipeline.ask("SELECT DISTINCT completeness FROM snapshots") == [("window",)]
        server.credits_left = 13
        (result,) = pipeline.snapshot(DAY1, "early", "late", relations=["followers"], derive=False)
        assert result.success
        assert len(server.asked) == asked + 13
        assert server.credits == 20
        assert pipeline.ask("SELECT handle, listed, completeness FROM snapshots ORDER BY 1") == [
            ("early", 200, "complete"),
            ("late", 200, "complete"),
        ]


@pytest.mark.parametrize(
    ("total", "max_pages", "missing"), [(60, None, 2), (61, None, 3), (60, 2, 1), (20, None, 1)]
)
def test_the_pages_of_the_rest_are_told_from_total_and_page_size(
    total: int, max_pages: int | None, missing: int
) -> None:
    walk = ListWalk("followers", "nasa", max_pages=max_pages)
    assert pages_missing(walk) is None
    page = {
        "data": {
            "lookupStatus": "found",
            "followers": [account(n) for n in range(20)],
            "page": {"nextCursor": "next", "hasMore": True},
            "totalFollowers": total,
        },
        "meta": {"requestId": "r", "creditsCharged": 1, "version": "v1"},
    }
    walk.update(parse_page("followers", json.dumps(page).encode()))
    assert pages_missing(walk) == missing


def test_a_refused_key_ends_with_exit_code_3_after_one_round_of_requests(world: World) -> None:
    home = world.home()
    ended = world.run(home, SOCIALFETCH_API_KEY="sfk_of_somebody_else")
    assert ended.code == 3
    assert "sfk_of_somebody_else" not in ended.stdout + ended.stderr
    # Six lists were asked for at once; none is tried again.
    assert len(world.server.asked) <= 6
    assert world.server.credits == 0


def test_spent_credits_end_with_exit_code_3(world: World) -> None:
    world.server.credits_left = 5
    ended = world.run(world.home())
    assert ended.code == 3
    assert "more credit" in ended.stderr
    assert world.server.credits == 5


def test_a_redirect_does_not_get_the_key(tmp_path: Path) -> None:
    with ListServer() as thief, ListServer() as server:
        server.fault = lambda request: Reply(307, headers={"location": thief.url + request.path})
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", relations=["followers"])
        (result,) = pipeline.snapshot(DAY1, "open", relations=["followers"], derive=False)
        assert not result.success
        assert "307" in failure_of(result)[0]
        assert len(server.asked) == 1
        assert thief.requests == []


# --- days -----------------------------------------------------------------------------------------


def test_a_list_that_midnight_overtakes_before_its_first_page_is_not_begun(tmp_path: Path) -> None:
    """It belongs to the day its first page is asked for; a begun list is read to its end."""
    import asyncio

    from sf_assets.credits.budget import Budget
    from sf_assets.ingest.reader import Collected, ListToRead, RunContext
    from sf_assets.ingest.scheduler import collect
    from sf_assets.model import SnapshotKey
    from sf_assets.social_fetch import SocialFetchClient
    from sf_assets.storage.landing_disk import DiskLanding

    day, next_day = date(2026, 11, 1), date(2026, 11, 2)
    with ListServer() as server:
        for handle in ("begun", "queued"):
            server.set(handle, "followers", [account(n) for n in range(60)])
        landing = DiskLanding(tmp_path)

        def today() -> date:
            return next_day if len(server.requests) >= 2 else day

        async def read() -> dict[str, Collected]:
            async with SocialFetchClient(api_key=SecretStr(KEY), base_url=server.url) as client:
                return {
                    one.key.handle: one
                    async for one in collect(
                        [
                            ListToRead(SnapshotKey(day, handle, "followers"), pages_before=3)
                            for handle in ("begun", "queued")
                        ],
                        RunContext(
                            client, landing, Budget(None), "run", Door(tmp_path), today=today
                        ),
                        concurrency=1,
                    )
                }

        ended = asyncio.run(read())
        assert ended["begun"].finished
        assert ended["begun"].bought == 3
        assert not ended["queued"].finished
        assert ended["queued"].permanent
        assert "the day was over" in (ended["queued"].reason or "")
        assert len(server.requests) == 3
