"""account: one account across all tracked lists."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from sf_assets.model import RELATIONS, SnapshotKey
from sf_assets.storage.home import Home
from sf_assets.storage.jsonl import append
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.publish import publish
from sf_assets_tests.cli.shell import run, use
from sf_assets_tests.homes import fill
from sf_assets_tests.lists import ID_BASE, Told, on, who


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days of `nova`: on each of them the oldest one of both lists leaves."""
    return fill(tmp_path_factory.mktemp("account") / "home", 5).root


@pytest.mark.parametrize(
    "word",
    ["fan3", "@FAN3", "https://www.tiktok.com/@fan3?lang=en", "7000000000000000003", "MS4w3"],
)
def test_an_account_is_found_by_all_its_names_with_each_stay(filled: Path, word: str) -> None:
    use(filled)
    said = run("account", word)
    lines = said.out.splitlines()
    assert lines[0].startswith("@fan3: Fan 3, id 7000000000000000003, 1 followers, 2 following")
    assert lines[1] == "2 stays in 2 tracked lists:"
    columns = re.split(r" {2,}", lines[2])
    assert len(columns) == len(set(columns)) == 7
    assert lines[3].split("  ")[0] == "nova"
    for part in ("by 2026-11-01", "baseline", "2026-11-02 to 2026-11-03", "lost, confirmed (exhau"):
        assert part in lines[3]
    (told,) = json.loads(run("account", word, "--json").out)
    assert [stay["relation"] for stay in told["history"]] == ["followers", "following"]
    assert told["history"][0]["ended_before"] == "2026-11-03"


def test_an_account_that_is_still_listed_has_no_end(filled: Path) -> None:
    use(filled)
    assert run("account", "fan9").out.splitlines()[-1].endswith("still listed")


def test_an_account_that_no_list_has_shown_is_said_to_be_unknown(filled: Path) -> None:
    use(filled)
    said = run("account", "stranger")
    assert (said.code, said.complaint) == (
        2,
        "sf-assets: no stored list shows stranger; check the spelling, or give a profile URL, a "
        "numeric id or a secUid",
    )


def test_a_tracked_handle_that_no_list_shows_is_said_to_be_tracked(filled: Path) -> None:
    use(filled)
    said = run("account", "@nova")
    assert said.code == 2
    assert said.complaint.startswith("sf-assets: @nova is tracked, but no stored list shows it")


# --- everything that is stored of a person --------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days of `nova`, archived packed and in full; fan5 is in all that a home can have."""
    home = fill(tmp_path_factory.mktemp("export") / "home", 5)
    landing = DiskLanding(home.landing)
    # Renamed on day 6, without a number there; somebody else has the old handle.
    accounts = (who(70, "fan5"), *range(14, 5, -1), who(5, "five", user_id=None, displayName="V"))
    landed = Told(6, "nova", accounts).land(landing)
    load(lambda: writing(home.warehouse), home.archive, [landed])
    with writing(home.warehouse) as con:
        derive(con, home.archive)
    pack(home.archive)
    publish(home)
    key = SnapshotKey(on(6), "nova", "following")
    Told(6, "nova", (), relation="following").land(landing)
    broken = {"data": {"accounts": [who(5).item("following"), who(6).item("following")]}}
    landing.quarantine(key, 1, "page is missing", json.dumps(broken).encode())
    landing.quarantine(key, 1, "no JSON", b"<html>five</html>")
    change = f"2026-11-02/nova/followers/notable-came/{ID_BASE + 5}"
    append(home.deliveries, [{"change_id": change}, {"change_id": change[:-1] + "6"}])
    return home.root


def exported(word: str, *more: str) -> dict[str, Any]:
    return dict(json.loads(run("account", word, "--export", "-", *more).out))


def test_an_export_has_everything_of_the_person_and_nothing_of_others(stored: Path) -> None:
    use(stored)
    found = exported(str(ID_BASE + 5))
    assert found["ids"] == {
        "numbers": [str(ID_BASE + 5)],
        "sec_uids": ["MS4w5"],
        "handles": ["fan5", "five"],
    }
    # fan5 is in both lists on days 1 to 4, and under another name on day 6.
    shown = {
        (where["relation"], where["snapshot_date"], one["profile"]["display_name"])
        for one in found["archive"]
        for where in one["shown"]
    }
    days = [(relation, str(on(day))) for relation in RELATIONS for day in range(1, 5)]
    assert shown == {*((*one, "Fan 5") for one in days), ("followers", str(on(6)), "V")}
    assert {where["file"].endswith(".packed.parquet") for where in found["archive"][0]["shown"]}
    raw = [(one["relation"], one["snapshot_date"], one["page"]) for one in found["landing"][:9]]
    assert sorted(raw) == sorted([*((*one, 1) for one in days), ("followers", str(on(6)), 1)])
    assert found["landing"][0]["record"] == who(5).item("followers")
    refused = [
        (one["refused"], one["record"] and one["record"]["handle"]) for one in found["landing"][9:]
    ]
    assert refused == [("page is missing", "fan5"), ("no JSON", None)]
    assert [one["change_id"][-1] for one in found["alerts"]] == ["5"]
    tables = found["tables"]
    assert len(tables["account_history"]) == len(tables["memberships"])
    assert {one["account_handle"] for one in tables["accounts"]} == {"five"}
    assert found["unreadable"] == []
    others = re.findall(r"(?:fan|Fan |MS4w)(?!5\b)\d+", json.dumps(found))
    assert not others


def test_an_export_is_of_one_person(stored: Path) -> None:
    use(stored)
    said = run("account", "@fan5", "--export", "-")
    assert (said.code, said.out) == (2, "")
    assert "fan5 matches 2 accounts" in said.complaint
    assert str(ID_BASE + 70) in said.complaint


def test_an_export_goes_to_a_file_for_its_owner_alone(stored: Path, tmp_path: Path) -> None:
    use(stored)
    said = run("account", str(ID_BASE + 70), "--export", str(tmp_path / "a.json"))
    assert (said.code, said.out) == (0, "")
    assert (tmp_path / "a.json").stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "a.json").read_text())["account_id"] == str(ID_BASE + 70)
    unknown = run("account", "nobody.at.all", "--export", str(tmp_path / "b.json"))
    assert unknown.code == 2
    assert not (tmp_path / "b.json").exists()


def test_who_is_only_landed_is_found_too(stored: Path) -> None:
    use(stored)
    landing = DiskLanding(Home(stored).landing)
    Told(7, "nova", (who(900, "not.loaded"),)).land(landing)
    for word in (str(ID_BASE + 900), "MS4w900", "@Not.Loaded"):
        (one,) = exported(word)["landing"]
        assert one["record"]["handle"] == "not.loaded"


def test_an_export_says_what_could_not_be_searched(stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path / "home", symlinks=True)
    file = min((tmp_path / "home" / "archive").glob("day=*/*.packed.parquet"))
    file.write_bytes(b"not Parquet")
    use(tmp_path / "home")
    said = run("account", str(ID_BASE + 5), "--export", "-")
    assert said.code == 1
    assert file.name in said.complaint
    assert json.loads(said.out)["unreadable"]
