"""Three days from a server that is not our simulator to the tables people query."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sf_assets.cli.runner import Runner, dagster_instance, failure_of
from sf_assets.defs.audience import Audience
from sf_assets.settings import load_settings
from sf_assets.warehouse.verify import verify
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account, followed

DAY1 = date(2026, 11, 1)
DAY2, DAY3 = DAY1 + timedelta(days=1), DAY1 + timedelta(days=2)


def followers(*numbers: int) -> list[dict[str, object]]:
    return [account(number) for number in numbers]


def followings(*numbers: int) -> list[dict[str, object]]:
    return [followed(number) for number in numbers]


def ids_on(pipeline: Pipeline, relation: str, handle: str, day: date) -> list[str]:
    macro = "followers_on" if relation == "followers" else "following_on"
    rows = pipeline.ask(f"SELECT account_id FROM {macro}(?, ?)", handle, day)
    return [str(row[0]) for row in rows]


def test_three_days_become_the_tables_the_server_served(tmp_path: Path) -> None:
    first = list(range(100, 0, -1))
    second = [102, 101, *(n for n in first if n not in (50, 7))]
    third = [103, *second]
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", "shy")
        for day, listed in ((DAY1, first), (DAY2, second), (DAY3, third)):
            server.set("open", "followers", followers(*listed))
            server.set("open", "following", followings(3, 2, 1))
            if day == DAY2:
                server.set("shy", "followers", status="private")
                server.set("shy", "following", status="private")
            else:
                server.set("shy", "followers", followers(*range(30, 0, -1)))
                server.set("shy", "following", followings(9, 8))
            bought = server.credits
            results = pipeline.snapshot(day, "open", "shy")
            assert all(result.success for result in results)
            charged = pipeline.ask(
                "SELECT sum(credits_charged) FROM snapshots WHERE snapshot_date = ?", day
            )
            assert charged == [(server.credits - bought,)]
            expected = [str(account(number)["platformUserId"]) for number in listed]
            assert ids_on(pipeline, "followers", "open", day) == expected

    assert pipeline.ask(
        "SELECT snapshot_date, listed, reported_total, completeness, end_reason "
        "FROM follower_snapshots WHERE handle = 'open' ORDER BY snapshot_date"
    ) == [
        (DAY1, 100, 100, "complete", "exhausted"),
        (DAY2, 100, 100, "complete", "exhausted"),
        (DAY3, 101, 101, "complete", "exhausted"),
    ]
    ids = {str(account(n)["platformUserId"]): n for n in range(1, 104)}
    churn = pipeline.ask(
        "SELECT snapshot_date, previous_date, account_id, change, state FROM follower_churn "
        "ORDER BY ALL"
    )
    assert sorted((row[0], row[1], ids[str(row[2])], row[3], row[4]) for row in churn) == [
        (DAY2, DAY1, 7, "lost", "provisional"),
        (DAY2, DAY1, 50, "lost", "provisional"),
        (DAY2, DAY1, 101, "gained", "confirmed"),
        (DAY2, DAY1, 102, "gained", "confirmed"),
        (DAY3, DAY2, 103, "gained", "confirmed"),
    ]
    assert pipeline.ask(
        "SELECT snapshot_date, followers_total, following_total, followers_net, followers_gained, "
        "followers_lost_provisional, followers_unknown, net_unexplained, gap_days "
        "FROM follower_growth "
        "WHERE handle = 'open' ORDER BY snapshot_date"
    ) == [
        (DAY1, 100, 3, None, None, None, None, None, None),
        (DAY2, 100, 3, 0, 2, 2, 0, 0, 0),
        (DAY3, 101, 3, 1, 1, 0, 0, 0, 0),
    ]
    assert pipeline.ask("SELECT count(*) FROM follower_churn WHERE handle = 'shy'") == [(0,)]
    assert pipeline.ask(
        "SELECT relation, from_status, to_status, changed_on FROM status_changes "
        "WHERE handle = 'shy' AND relation = 'followers' ORDER BY changed_on"
    ) == [
        ("followers", "found", "private", DAY2),
        ("followers", "private", "found", DAY3),
    ]


def test_a_finished_day_is_packed_and_reported_once(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        for handle in ("one", "two"):
            server.set(handle, "followers", followers(*range(45, 0, -1)))
            server.set(handle, "following", followings(1))
        first = pipeline.snapshot(DAY1, "one", "two")[0].run_id
        files = [file.name for file in pipeline.home.landing.rglob("*.jsonl*")]
        assert sorted(files) == [f"{handle}.jsonl.zst" for handle in ("one", "one", "two", "two")]
        assert verify(pipeline.home)[1].problems == []
        asked = len(server.requests)
        key, cells = dg.AssetKey("follower_snapshots"), [f"{DAY1}|one", f"{DAY1}|two"]

        def reported() -> list[str]:
            pipeline.snapshot(DAY1, "one", "two", derive=False)
            with dagster_instance(pipeline.home) as instance:
                grid = Audience(pipeline.settings).grid.cells
                shown = instance.get_status_by_partition(key, cells, grid)
                assert {one.value for one in (shown or {}).values() if one} == {"MATERIALIZED"}
                return [
                    record.run_id
                    for record in instance.fetch_materializations(key, limit=9).records
                ]

        assert reported() == [first, first]
        # As if the first run had been killed after it loaded them.
        with dagster_instance(pipeline.home) as instance:
            instance.event_log_storage.delete_events(first)
        again = reported()
        assert len(again) == 2
        assert first not in again
        assert len(server.requests) == asked


def test_a_finished_day_is_not_bought_again(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open")
        server.set("open", "followers", followers(*range(45, 0, -1)))
        server.set("open", "following", followings(1))
        pipeline.snapshot(DAY1, "open")
        before = pipeline.ask("FROM snapshots ORDER BY ALL")
        asked = len(server.requests)
        assert pipeline.snapshot(DAY1, "open")[0].success
        assert len(server.requests) == asked
        assert pipeline.ask("FROM snapshots ORDER BY ALL") == before


def test_a_refresh_replaces_the_day(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", relations=["followers"])
        server.set("open", "followers", followers(3, 2, 1))
        pipeline.snapshot(DAY1, "open")
        server.set("open", "followers", followers(4, 3, 1))
        assert pipeline.snapshot(DAY1, "open", refresh=True)[0].success
    wanted = [str(account(number)["platformUserId"]) for number in (4, 3, 1)]
    assert ids_on(pipeline, "followers", "open", DAY1) == wanted
    assert pipeline.ask("SELECT count(*) FROM follower_churn") == [(0,)]


def test_a_past_day_is_refused_without_a_request(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open")
        server.set("open", "followers", followers(1))
        server.set("open", "following", followings(1))
        pipeline.snapshot(DAY2, "open")
        asked = len(server.requests)
        with dagster_instance(pipeline.home) as instance:
            (result,) = Runner(instance, load_settings()).snapshot(
                DAY1, ["open"], ["followers"], refresh=False
            )
        assert not result.success
        said, refused, _ = failure_of(result)
        assert "the API returns only the current list" in said
        assert refused == ""
        assert len(server.requests) == asked


def test_a_past_day_whose_pages_are_landed_is_loaded(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", relations=["followers"])
        server.set("open", "followers", followers(2, 1))
        pipeline.snapshot(DAY1, "open")
        # As if the machine had died between landing and load.
        pipeline.home.warehouse.unlink()
        pipeline.home.published.unlink()
        asked = len(server.requests)
        with dagster_instance(pipeline.home) as instance:
            import os

            from sf_assets.cli.runner import Runner

            os.environ["SF_ASSETS_TODAY"] = DAY3.isoformat()
            (result,) = Runner(instance, pipeline.settings).snapshot(
                DAY1, ["open"], ["followers"], refresh=False
            )
        assert result.success
        assert len(server.requests) == asked
    assert pipeline.ask("SELECT snapshot_date, listed FROM snapshots") == [(DAY1, 2)]


def test_a_handle_that_fails_does_not_fail_the_others(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("good", "bad", relations=["followers"])
        server.set("good", "followers", followers(2, 1))
        server.set("bad", "followers", status="unheard_of")
        (result,) = pipeline.snapshot(DAY1, "good", "bad", relations=["followers"])
        assert not result.success
        said = failure_of(result).message
        assert "bad" in said
        with dagster_instance(pipeline.home) as instance:
            key = dg.AssetKey("follower_snapshots")
            assert instance.get_materialized_partitions(key) == {f"{DAY1}|good"}
            planned = instance.event_log_storage
            failed = planned.get_latest_asset_partition_materialization_attempts_without_materializations(  # noqa: E501
                key
            )
            assert set(failed) == {f"{DAY1}|bad"}
    assert pipeline.ask("SELECT handle FROM snapshots") == [("good",)]


def test_every_materialization_says_what_it_holds(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", "shy", relations=["followers"])
        server.set("open", "followers", followers(*range(25, 0, -1)), total=26)
        server.set("shy", "followers", status="hidden")
        pipeline.snapshot(DAY1, "open", "shy", relations=["followers"])
        with dagster_instance(pipeline.home) as instance:
            records = instance.fetch_materializations(
                dg.AssetKey("follower_snapshots"), limit=10
            ).records
        said = {
            record.partition_key: {
                name: value.value for name, value in record.asset_materialization.metadata.items()
            }
            for record in records
        }
    open_ = said[f"{DAY1}|open"]
    assert (open_["status"], open_["listed"], open_["total"]) == ("found", 25, 26)
    assert (open_["completeness"], open_["credits"]) == ("complete", 2)
    assert open_["seconds"] >= 0
    shy = said[f"{DAY1}|shy"]
    assert (shy["status"], shy["completeness"], shy["credits"]) == ("hidden", "none", 1)


@pytest.mark.parametrize("status", ["unauthorized", "credits"])
def test_a_vendor_that_refuses_is_named(tmp_path: Path, status: str) -> None:
    with ListServer(credits_left=2 if status == "credits" else 100) as server:
        key = KEY if status == "credits" else "sfk_wrong"
        pipeline = Pipeline(tmp_path / "home", server.url, key, DAY1)
        pipeline.track("open", relations=["followers"])
        server.set("open", "followers", followers(*range(100, 0, -1)))
        (result,) = pipeline.snapshot(DAY1, "open", relations=["followers"])
        assert not result.success
        assert failure_of(result)[1] == status
        if status == "credits":
            assert pipeline.ask("SELECT listed, completeness, end_reason FROM snapshots") == [
                (40, "window", "out_of_credits")
            ]
            server.credits_left = 100
            assert pipeline.snapshot(DAY1, "open", relations=["followers"])[0].success
            assert server.credits == 5
            assert pipeline.ask("SELECT listed, completeness, end_reason FROM snapshots") == [
                (100, "complete", "exhausted")
            ]


def test_an_account_without_any_name_is_no_loss(tmp_path: Path) -> None:
    """Somebody is shown there, and it may be whoever was there before."""
    people = [account(n) for n in range(30, 0, -1)]
    # Handle -> where somebody has no name, and for how many days.
    odd = {f"odd{place}.{days}": (place, days) for place in (0, 7, 14, 29) for days in (1, 3)}
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track(*odd, relations=["followers"])
        for number in range(max(days for _, days in odd.values()) + 2):
            expected = []
            for handle, (place, days) in odd.items():
                shown = list(people)
                if nameless := 0 < number <= days:
                    nobody = {"handle": "", "platformUserId": None, "secUid": None}
                    shown[place] = {**people[place], **nobody}
                server.set(handle, "followers", shown)
                expected.append((handle, 29, 30, 1) if nameless else (handle, 30, 30, 0))
            day = DAY1 + timedelta(days=number)
            assert pipeline.snapshot(day, *odd, relations=["followers"])[0].success
            assert pipeline.ask(
                "SELECT handle, listed, reported_total, damaged_fields FROM snapshots "
                "WHERE snapshot_date = ? ORDER BY handle",
                day,
            ) == sorted(expected)
            assert pipeline.ask("FROM follower_churn") == []
