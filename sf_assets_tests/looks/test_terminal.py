"""What a person sees on a terminal of 80 columns, and what the help says."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from sf_assets_tests.cli.shell import environment, run
from sf_assets_tests.conftest import Pipeline

COLUMNS = 80
LONG = "a.handle.of.some.forty.characters.in.all"


def on_terminal(*arguments: str) -> list[str]:
    """The lines that `sf-assets` writes to a terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    child_environment = environment(TERM="xterm")
    child_environment.pop("COLUMNS", None)
    with subprocess.Popen(
        [sys.executable, "-m", "sf_assets", *arguments],
        env=child_environment,
        stdin=its,
        stdout=its,
        stderr=its,
    ) as child:
        os.close(its)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:
            pass  # Linux says so where the other end is closed
        os.close(ours)
        assert child.wait(timeout=60) == 0, written
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    return [line.rstrip() for line in text.splitlines()]


@pytest.fixture
def tracked(at_home: Pipeline) -> Iterator[Pipeline]:
    before = at_home.home.registry.read_text(encoding="utf-8")
    run("track", LONG, "-q")
    yield at_home
    at_home.home.registry.write_text(before, encoding="utf-8")


def test_only_the_widest_column_folds(tracked: Pipeline) -> None:
    lines = on_terminal("handles")
    assert max(map(len, lines)) <= COLUMNS
    # What fits is in one line, and whole.
    assert [line.split()[:6] for line in lines[2:4]] == [
        ["open", "followers", "full", "2026-11-17", "found", "70"],
        ["open", "following", "full", "2026-11-17", "found", "3"],
    ]
    folded = [line.split()[0] for line in lines[2:] if line.split()[0] in LONG]
    assert len(folded) > 2
    assert "".join(folded) == LONG * 2


def test_a_forecast_fits_with_its_headings_in_two_lines(at_home: Pipeline) -> None:
    lines = on_terminal("forecast")
    assert max(map(len, lines[:-1])) <= COLUMNS
    assert lines[0].split() == ["if", "if", "recent"]
    assert lines[1].split()[-4:] == ["credits", "full", "recent", "saves"]
    assert len(lines) >= 2 + 1 + 6 + 1
    assert [line.split()[1] for line in lines[3:9]] == ["followers", "following"] * 3


def test_columns_that_do_not_fit_are_named(at_home: Pipeline) -> None:
    said = " ".join(on_terminal("query", "FROM follower_growth"))
    assert "Not all columns fit" in said
    assert "net_unexplained" in said
    few = on_terminal("query", "SELECT handle, followers_total FROM follower_growth")
    assert "Not all columns fit" not in " ".join(few)


def test_numbers_are_told_apart_on_a_terminal_and_left_alone_elsewhere(
    at_home: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sf_assets.cli.tables import print_table

    print_table(["handle", "total"], [["nasa", 120514], ["esa", None]])
    assert "120514" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table(["handle", "total"], [["nasa", 120514], ["esa", None]])
    assert "120,514" in capsys.readouterr().out


def test_the_list_of_alerts_says_when_to_the_minute(at_home: Pipeline) -> None:
    lines = on_terminal("alerts")
    assert lines[0].split() == ["since", "kind", "what", "delivered", "(UTC)"]
    assert re.search(r" (waiting|\d{4}-\d\d-\d\d \d\d:\d\d)$", lines[2])


def test_a_home_without_news_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_ASSETS_HOME", str(tmp_path / "empty"))
    assert run("alerts").out.startswith("no alerts so far; enabled kinds: status")


def test_the_list_of_commands_cuts_no_sentence() -> None:
    assert "..." not in run("--help").out.partition("Commands:")[2]
    assert "..." not in run("alerts", "--help").out.partition("Commands:")[2]
    assert all(len(line) <= COLUMNS for line in run("--help").out.splitlines())
    assert "Examples: sf-assets demo" in run("--help").out


def test_a_handle_that_looks_like_a_stored_one_is_asked_back(
    at_home: Pipeline, tmp_path: Path
) -> None:
    page = str(tmp_path / "report.html")
    assert "did you mean open?" in run("report", "--handle", "opem", "-o", page).complaint
    assert "see `sf-assets handles`" in run("report", "--handle", "zzz", "-o", page).complaint
    assert run("report", "--handle", "open", "-o", page).out.startswith(f"{page}: 1 handle, ")
    assert "did you mean open?" in run("forecast", "--handle", "opem").complaint
    assert "did you mean open?" in run("untrack", "opem").complaint
    assert "track it with" not in run("untrack", "zzz").complaint
