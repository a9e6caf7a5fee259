"""The folder everything is written to."""

from __future__ import annotations

import json
import os
import stat
from datetime import date
from pathlib import Path

import pytest

from sf_assets.errors import SettingsError
from sf_assets.settings import Settings
from sf_assets.storage.home import Home, write_atomically


def on_day(day: str, **more: str) -> Settings:
    return Settings.model_validate({"base_url": "http://127.0.0.1:1", "today": day, **more})


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_asking_for_paths_touches_no_disk(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.start_date(on_day("2026-03-04")) == date(2026, 3, 4)
    assert home.landing == tmp_path / "home" / "landing"
    assert not home.root.exists()


def test_first_use_notes_the_day_as_start_of_the_grid(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home").ensure(on_day("2026-03-04"))
    marker = json.loads(home.marker.read_text(encoding="utf-8"))
    assert marker["format"] == 1
    assert marker["start_date"] == "2026-03-04"


def test_the_home_is_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ensure(on_day("2026-03-04"))
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.marker.stat().st_mode) == 0o600


def test_a_folder_that_was_there_becomes_its_owners_only(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    home = Home(tmp_path / "home").ensure(on_day("2026-03-04"))
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_later_runs_keep_the_start_date(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.ensure(on_day("2026-03-04"))
    before = contents(home.root)
    home.ensure(on_day("2026-03-09"))
    assert home.start_date(on_day("2026-03-09")) == date(2026, 3, 4)
    assert contents(home.root) == before


def test_the_start_date_that_is_set_counts_more_than_the_one_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ensure(on_day("2026-03-04"))
    asked = on_day("2026-03-09", start_date="2026-01-01")
    assert home.start_date(asked) == date(2026, 1, 1)
    assert home.start_date(on_day("2026-03-09")) == date(2026, 3, 4)


def test_a_start_date_set_at_first_use_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ensure(on_day("2026-03-04", start_date="2026-01-01"))
    assert home.start_date(on_day("2026-03-09")) == date(2026, 1, 1)


def test_a_home_of_a_newer_version_is_refused_and_not_changed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.marker.write_text(
        '{"format": 2, "start_date": "2026-01-01", "created_by": "9.9"}', encoding="utf-8"
    )
    tmp_path.chmod(0o755)
    before = contents(tmp_path)
    for act in (home.ensure, home.start_date):
        with pytest.raises(SettingsError, match=r"format 2.*newer sf_assets \(9\.9\).*Upgrade"):
            act(on_day("2026-03-04", start_date="2026-01-01"))
    assert contents(tmp_path) == before
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "marker",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b"{}",
        b'{"format": 1}',
        b'{"format": "one", "start_date": "2026-01-01"}',
        b'{"format": 1, "start_date": "soon"}',
        b'{"format": 1, "start_date": null}',
        b"\xff\xfe\x00",
    ],
)
def test_a_marker_that_is_not_ours_is_refused_and_not_changed(
    tmp_path: Path, marker: bytes
) -> None:
    home = Home(tmp_path)
    home.marker.write_bytes(marker)
    with pytest.raises(SettingsError, match=r"home\.json is not a marker of ours"):
        home.ensure(on_day("2026-03-04"))
    assert contents(tmp_path) == {str(home.marker): marker}


def test_a_file_in_the_place_of_the_home_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"SF_ASSETS_HOME: .*home"):
        Home(tmp_path / "home").ensure(on_day("2026-03-04"))
    assert (tmp_path / "home").read_text(encoding="utf-8") == "a file"


def test_a_home_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    with pytest.raises(SettingsError, match="SF_ASSETS_HOME: "):
        Home(tmp_path / "file" / "home").ensure(on_day("2026-03-04"))


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write to"
)
def test_a_folder_nobody_can_write_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be written .*; nothing was read"):
        Home(Path("/proc/self/sf_assets_home")).ensure(on_day("2026-03-04"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_lost_its_write_permission_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").ensure(on_day("2026-03-04"))
    home.root.chmod(0o500)
    try:
        with pytest.raises(SettingsError, match="no permission to write there"):
            home.ensure(on_day("2026-03-05"))
    finally:
        home.root.chmod(0o700)


def test_a_failed_write_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "half of an emoji: \ud83d")
    assert contents(tmp_path) == {str(path): b"old"}
