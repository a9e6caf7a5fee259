"""track, untrack, handles."""

from __future__ import annotations

import json
from pathlib import Path

from sf_assets_tests.cli.shell import child, contents, run, use


def test_tracked_handles_are_shown_and_untracked_ones_are_not(tmp_path: Path) -> None:
    home = use(tmp_path / "home")
    said = child("track", "@NASA", "esa", cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[:2] == ["nasa: tracked", "esa: tracked"]
    assert str(home / "handles.yaml") in said.out
    shown = run("handles")
    assert shown.out.splitlines()[0].split()[:3] == ["handle", "relation", "depth"]
    assert [line.split()[:3] for line in shown.out.splitlines()[1:]] == [
        ["nasa", "followers", "full"],
        ["nasa", "following", "full"],
        ["esa", "followers", "full"],
        ["esa", "following", "full"],
    ]
    assert run("untrack", "nasa").out == "nasa: no longer tracked; stored data is kept\n"
    assert "nasa" not in run("handles").out


def test_tracking_twice_says_so(tmp_path: Path) -> None:
    use(tmp_path / "home")
    run("track", "nasa")
    assert run("track", "nasa").out.startswith("nasa: already tracked\n")


def test_settings_of_a_handle_are_kept(tmp_path: Path) -> None:
    use(tmp_path / "home")
    assert (
        run("track", "nasa", "--relation", "followers", "--pages", "3", "--priority", "5").code == 0
    )
    (line,) = run("handles").out.splitlines()[1:]
    assert line.split() == ["nasa", "followers", "3", "pages"]


def test_a_tag_chooses_among_the_handles(tmp_path: Path) -> None:
    use(tmp_path / "home")
    run("track", "nasa", "esa", "--tag", "space", "--relation", "followers")
    run("track", "bbc", "--tag", "press", "--tag", "UK", "--relation", "followers")
    lines = run("handles", "--tag", "press").out.splitlines()
    assert [line.split() for line in lines[1:]] == [["bbc", "followers", "full", "press", "UK"]]
    assert [one["handle"] for one in json.loads(run("handles", "--tag=space", "--json").out)] == [
        "nasa",
        "esa",
    ]
    for command in (["handles"], ["forecast"], ["report"]):
        said = run(*command, "--tag", "spce")
        assert (said.code, said.complaint) == (
            2,
            "sf-assets: no handle in handles.yaml has the tag 'spce'; tags are UK, press, space",
        )


def test_without_handles_the_next_step_is_told(tmp_path: Path) -> None:
    use(tmp_path / "home")
    assert run("handles").out == "no handle is tracked yet; run: sf-assets track HANDLE\n"
    assert not (tmp_path / "home").exists()


def test_a_mistyped_handle_is_told_the_one_that_was_meant(tmp_path: Path) -> None:
    home = use(tmp_path / "home")
    run("track", "nasa")
    before = contents(home)
    said = run("untrack", "nassa")
    assert (said.code, said.complaint) == (
        2,
        "sf-assets: nassa is not tracked; did you mean nasa?",
    )
    assert contents(home) == before


def test_one_unknown_handle_among_known_ones_takes_nobody_out(tmp_path: Path) -> None:
    home = use(tmp_path / "home")
    run("track", "nasa", "esa")
    before = contents(home)
    assert run("untrack", "nasa", "somebody.else").code == 2
    assert contents(home) == before


def test_long_handles_fit_a_hundred_columns(tmp_path: Path) -> None:
    use(tmp_path / "home")
    run("track", "a" * 24)
    assert max(map(len, run("handles").out.splitlines())) <= 100
