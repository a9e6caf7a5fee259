"""The report is one file, harmless, and fits a desk and a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from sf_assets.cli import main
from sf_assets.report import gather, render
from sf_assets.warehouse.connection import reading
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.looks.conftest import NEWEST

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Seen(HTMLParser):
    """Which elements and attributes a page has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.values: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values |= {value for _, value in attrs if value}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(at_home: Pipeline) -> str:
    with reading(at_home.home.published) as con:
        return render(gather(con))


def test_it_needs_no_network_and_runs_no_script(page: str) -> None:
    seen = Seen(page)
    assert not seen.tags & {"script", "img", "iframe", "object", "embed", "a", "form", "base"}
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert not {value for value in seen.values if "//" in value and "//www.w3.org/" not in value}
    assert "@import" not in page
    assert "url(" not in page


def test_hostile_names_are_text(page: str) -> None:
    text = Seen(page).text
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_every_chart_has_its_numbers(page: str) -> None:
    charts = page.count('class="wide-only"')
    assert charts == 2 + 2 * 3  # growth, spend, and two for each of three handles
    tables = page.count("<details>")
    # Two charts of a handle share a table; completeness is a chart of its own kind.
    assert tables == 2 + 1 + 3
    assert "private since 2026-11-03" in page


def test_the_command_writes_it(at_home: Pipeline, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    result = CliRunner().invoke(
        main, ["report", "--handle", "@Open", "--days", "7", "-o", str(target)]
    )
    assert result.exit_code == 0, result.output
    assert "1 handles, 7 days" in result.output
    assert "Followers of 1 TikTok handle<" in target.read_text(encoding="utf-8")


def test_a_handle_without_snapshots_is_named(at_home: Pipeline, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["report", "--handle", "nobody", "-o", str(tmp_path / "r")])
    assert result.exit_code == 2
    assert "nobody: no snapshot" in result.output


def test_an_empty_home_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_ASSETS_HOME", str(tmp_path / "empty"))
    result = CliRunner().invoke(main, ["report", "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 2
    assert "sf-assets snapshot" in result.output


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to open the report with")
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_opens_it_without_complaint(page: str, width: int, tmp_path: Path) -> None:
    # Headless windows have a least width; a frame has none. It tells us
    # whether the page became wider than the frame.
    probe = (
        "<script>console.log('fits', document.documentElement.scrollWidth <= innerWidth)</script>"
    )
    inner = page.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    (tmp_path / "report.html").write_text(inner.replace("</body>", probe + "</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(f'<iframe src="report.html" width="{width}" height="900" frameborder="0">')
    ran = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", "--window-size=1300,950", "--virtual-time-budget=2000"),
            f"--user-data-dir={tmp_path / 'profile'}",
            *("--dump-dom", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = re.findall(r'CONSOLE[^"]*"(.*?)", source', ran.stderr)
    assert said == ["fits true"], ran.stderr[-2000:]


def test_the_newest_day_is_the_last(page: str) -> None:
    assert f"to {NEWEST}" in page
