"""`retention.profiles_days` in handles.yaml, through the daily runs of a home."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from sf_assets.handles.parse import parse_registry
from sf_assets.handles.settings import RegistryError
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account
from sf_assets_tests.warehouse.test_pack import rows_of

DAY = date(2026, 11, 1)


def test_a_profile_is_in_no_file_of_the_home_after_its_days(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY)
        home = pipeline.home
        pipeline.track("open", relations=["followers"])
        with home.registry.open("a") as file:
            file.write("retention: {raw_days: 1, profiles_days: 2}\n")
        gone = account(9, handle="quokka", displayName="Wombat", bio="Numbat")
        for number in range(5):
            people = [account(n) for n in range(8, 0, -1)]
            server.set("open", "followers", [*people, *([] if number else [gone])])
            day = DAY + timedelta(days=number)
            pipeline.snapshot(day, "open", relations=["followers"], derive=number > 2)
    marks = [b"quokka", b"Wombat", b"Numbat"]
    for path in home.root.rglob("*"):
        if path.is_file():
            assert not [mark for mark in marks if mark in path.read_bytes()], path
    rows = rows_of(home.archive)
    assert not [mark for mark in marks if mark.decode() in str(rows)]
    assert str(gone["platformUserId"]) in str(rows)
    assert pipeline.ask("SELECT change, state FROM follower_churn") == [("lost", "confirmed")]


def test_raw_pages_are_not_kept_longer_than_profiles() -> None:
    with pytest.raises(RegistryError, match="profiles_days must be at least raw_days"):
        parse_registry("handles: [bob]\nretention: {raw_days: 30, profiles_days: 29}\n")
    assert parse_registry("handles: [bob]").retention.profiles_days is None
