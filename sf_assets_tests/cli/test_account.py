"""account: one account across all tracked lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sf_assets_tests.cli.shell import run, use
from sf_assets_tests.homes import fill


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
        "sf-assets: no tracked list has shown stranger on any day; give a handle, the address of a "
        "profile, a numeric id or a secUid",
    )
