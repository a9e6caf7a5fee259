"""The report is one file, harmless, and fits a desk and a phone."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from sf_assets.cli import main
from sf_assets.report import Day, Handle, Report, gather, render
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
    # Growth, spend, and two for each handle with more than one figure.
    assert charts == 2 + 2 * 2
    tables = page.count("<details>")
    # Two charts of a handle share a table; completeness and shared followers are of their own kind.
    assert tables == 2 + 2 + 3
    assert "private since 2026-11-03" in page


def day(total: int | None, **more: Any) -> Day:
    return Day(total=total, completeness="complete" if total else "none", **more)


def report_of(**by_handle: dict[int, Day]) -> Report:
    """A report of the first ten days of November; handles are given as day of month -> figures."""
    days = [date(2026, 11, number) for number in range(1, 11)]
    handles = [
        Handle(name, days, {days[at - 1]: one for at, one in by_day.items()}, "found", None)
        for name, by_day in by_handle.items()
    ]
    spend = {one: {"followers": 1, "following": 1} for one in days}
    return Report(days, handles, [], 0, [], spend)


def test_a_first_day_is_no_empty_chart() -> None:
    page = render(report_of(new={10: day(496)}))
    assert "Only one total so far" in page
    assert "No data" not in page
    assert page.count('class="wide-only"') == 1  # of the credits
    # What is not known is a dash, not a zero.
    tiles = re.findall(r"<li><b>(.*?)</b><span>(.*?)</span>", page)
    assert tiles[:4] == [
        *(("496", "followers"), ("-", "in 10 days")),
        *(("-", "came (proved)"), ("-", "left (confirmed)")),
    ]
    assert "496 followers</span>" in page


def test_a_handle_without_any_figure_is_no_row_of_zeros() -> None:
    page = render(report_of(ghost={10: day(None)}))
    assert re.search(r'ghost</td><td class="n">-</td>', page)
    assert ">- followers" not in page
    assert "No figures in these days" in page


def test_losses_that_wait_for_later_lists_are_shown_beside_those_that_are_sure() -> None:
    page = render(
        report_of(busy={9: day(100), 10: day(95, net=-5, gained=1, lost=2, provisional=4)})
    )
    tables = re.findall(r"<thead><tr>(.*?)</tr></thead>\s*<tbody>\s*(.*?)\s*</tbody>", page, re.S)
    shown = []
    for head, body in tables:
        names = re.findall(r"<th[^>]*>(.*?)</th>", head)
        rows = [
            re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)
            for row in re.findall(r"<tr>(.*?)</tr>", body, re.S)
        ]
        assert {len(row) for row in rows} == {len(names)}
        shown += [dict(zip(names, row, strict=True)) for row in rows]
    assert [
        (row["Came"], row["Left"], row["Provisional"]) for row in shown if row.get("Left") == "2"
    ] == [("1", "2", "4")] * 2  # the handle's row, and its day's


def test_days_that_stand_alone_are_dots() -> None:
    weekly = {2: day(100), 9: day(110, net=10, gained=12, lost=2)}
    page = render(report_of(weekly=weekly))
    assert page.count("<circle") == 2 * 2 * 2  # two days; growth and totals; wide and narrow
    assert len(re.findall(r"<polyline", page)) == 2
    assert "in percent.</p>" in page
    daily = {number: day(100 + number, net=1, gained=1, lost=0) for number in range(1, 11)}
    assert "<circle" not in render(report_of(daily=daily))


def test_days_of_which_only_the_total_is_known_are_lighter() -> None:
    span = [date(2026, 11, day) for day in (1, 2, 3, 4)]
    counted = {day: Day(total=5, completeness="counts") for day in span[:2]}
    whole = {day: Day(total=6, completeness="complete") for day in span[2:]}
    report = Report(
        span, [Handle("nova", span, {**counted, **whole}, "found", None)], [], 0, [], {}
    )
    page = render(replace(report, spend={day: {"followers": 0, "following": 0} for day in span}))
    # In the wide and the narrow picture of all handles and of its own, three groups of each line.
    assert page.count('color-0 lighter"') == 4 * 3
    assert page.count('<i class="counts"></i>') == 1 + 2  # the legend, and two days
    assert "nova: 2 days complete, 0 in part, 0 closed, 2 with a total only" in page


def test_few_handles_are_not_called_many() -> None:
    grows = {1: day(100), 2: day(110, net=10, gained=10, lost=0)}
    assert "the 1 " not in render(report_of(grows=grows, new={10: day(5)}))


def test_the_command_writes_it(at_home: Pipeline, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    result = CliRunner().invoke(
        main, ["report", "--handle", "@Open", "--days", "7", "-o", str(target)]
    )
    assert result.exit_code == 0, result.output
    assert "1 handle, 7 days" in result.output
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


_IN_A_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report with")
_QUIETLY = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@_IN_A_BROWSER
def test_on_paper_a_handle_is_a_page(tmp_path: Path) -> None:
    def pages(handles: int) -> int:
        month = {number: day(100 + number, net=1, gained=2, lost=1) for number in range(1, 31)}
        days = [date(2026, 11, number) for number in range(1, 31)]
        by_day = {days[at - 1]: one for at, one in month.items()}
        report = Report(
            days,
            [Handle(f"h{one}", days, by_day, "found", None) for one in range(handles)],
            [],
            0,
            [],
            {one: {"followers": 10, "following": 1} for one in days},
        )
        file, paper = tmp_path / "report.html", tmp_path / "report.pdf"
        file.write_text(render(report), encoding="utf-8")
        subprocess.run(
            [
                *(str(CHROMIUM), *_QUIETLY, f"--user-data-dir={tmp_path / 'profile'}"),
                *("--no-pdf-header-footer", f"--print-to-pdf={paper}", file.as_uri()),
            ],
            capture_output=True,
            timeout=120,
            check=True,
        )
        return len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))

    assert pages(5) - pages(2) == 3


@_IN_A_BROWSER
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
            *_QUIETLY,
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


def test_people_are_searched_by_the_only_script_that_the_page_lets_run(
    at_home: Pipeline, tmp_path: Path
) -> None:
    with reading(at_home.home.published) as con:
        page = render(gather(con, people=True))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"img-src data:; script-src 'sha256-{digest}'" in page
    part = page.split('<section id="people">')[1]
    # Who left, with both of its stays; a name that means harm is text.
    assert re.search(r"@fan\.7</bdi>.*?lost <span class=\"pill\">confirmed", part, re.S)
    assert "<img src=x" not in part
    assert "&lt;script&gt;alert(1)" in part


@_IN_A_BROWSER
def test_a_search_leaves_the_rows_with_all_its_words(at_home: Pipeline, tmp_path: Path) -> None:
    with reading(at_home.home.published) as con:
        page = render(gather(con, people=True))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    typed = script + 'box.value = "@FAN.102 lost"; box.dispatchEvent(new Event("input"));'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    other = base64.b64encode(hashlib.sha256(typed.encode()).digest()).decode()
    path = tmp_path / "people.html"
    path.write_text(page.replace(script, typed).replace(digest, other), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM or "", *_QUIETLY, f"--user-data-dir={tmp_path}/p", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    rows = re.findall(r"<tr( hidden=\"\")?><td class=\"handle\"><bdi>(@[^<]*)", done.stdout)
    assert [name for hidden, name in rows if not hidden] == ["@fan.102"]
    assert len(rows) > 5


def test_a_client_gets_a_title_a_logo_and_texts_and_no_spend(
    at_home: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    (tmp_path / "text.txt").write_text("Dear <b>client</b>,\n\nall is\nwell.")
    options = ["--title", "May & June", "--logo", f"{tmp_path}/logo.png"]
    options += ["--text", f"{tmp_path}/text.txt"]
    made = tmp_path / "client.html"
    result = CliRunner().invoke(main, ["report", *options, "-o", str(made)])
    assert result.exit_code == 0, result.output
    page = made.read_text()
    assert "<h1>May &amp; June</h1>" in page
    assert "<p>Dear &lt;b&gt;client&lt;/b&gt;,</p>" in page
    assert "<p>all is well.</p>" in page
    assert 'src="data:image/png;base64,iVBORw=="' in page
    assert "<h2>Spend</h2>" not in page
    assert "credits" not in Seen(page).text
    (tmp_path / "logo.exe").write_bytes(b"MZ")
    refused = CliRunner().invoke(main, ["report", "--logo", f"{tmp_path}/logo.exe"])
    assert refused.exit_code == 2
    assert "a logo must be a PNG, JPEG, GIF, WebP or SVG file" in refused.output


@_IN_A_BROWSER
def test_a_name_that_ends_in_pdf_makes_a_pdf(at_home: Pipeline, tmp_path: Path) -> None:
    made = tmp_path / "client.pdf"
    result = CliRunner().invoke(main, ["report", "--handle", "open", "-o", str(made)])
    assert result.exit_code == 0, result.output
    assert made.read_bytes().startswith(b"%PDF-")


def test_without_a_browser_a_pdf_is_refused_with_what_to_do(
    at_home: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(main, ["report", "-o", str(tmp_path / "x.pdf")])
    assert result.exit_code == 2
    assert "a PDF needs Chromium or Chrome, and neither is installed" in result.output


def test_a_group_has_its_sums_its_reach_and_a_matrix(at_home: Pipeline) -> None:
    """Of handles tagged in the published file; beside each sum, how many handles had a figure."""
    with duckdb.connect(":memory:") as con:
        con.execute(f"ATTACH '{at_home.home.published.resolve()}' AS it (READ_ONLY)")
        con.execute("COPY FROM DATABASE it TO memory")
        con.execute("UPDATE handles SET tags = ['a']")
        report = gather(con)
        page = render(report)
        # Where nobody has a figure on the newest day, total and count are of the same day before.
        newest = "snapshot_date = (SELECT max(snapshot_date) FROM snapshots)"
        con.execute(f"UPDATE follower_growth SET followers_total = NULL WHERE {newest}")
        before = con.execute(
            "SELECT followers_total, handles_with_total FROM group_growth "
            "WHERE followers_total IS NOT NULL ORDER BY snapshot_date DESC LIMIT 1"
        ).fetchall()
        (dark,) = gather(con).groups
        assert [(dark["total"], dark["handles_with_total"])] == before
        con.execute("UPDATE follower_growth SET followers_total = NULL")
        assert '- <span class="pill">0 of 3</span>' in render(gather(con))
    ((group,), overlap) = report.groups, report.shared[("twin", "open")]
    assert (group["handles"], group["handles_listed"], group["handles_with_total"]) == (3, 3, 2)
    assert overlap["share"] == 0.9  # ten, and open has lost one of them
    assert re.search(r"<td class=\"n\">\d+ <span class=\"pill\">2 of 3</span>", page)
    assert 'color-mix(in srgb, var(--c0) 63.0%, transparent)" title="twin and open: 9">90<' in page


def test_a_share_of_nobody_is_zero_and_no_dash(at_home: Pipeline) -> None:
    with reading(at_home.home.published) as con:
        rows = {(one["handle"], one["segment"]): one for one in gather(con).audience}
    twin = rows["twin", "listed"]
    assert (twin["accounts"], twin["verified"], twin["coverage"]) == (10, 0, 1)
    assert all(twin[name] is not None for name in ("private", "no_picture", "no_bio", "small"))
    assert ("twin", "left") not in rows


def test_events_and_notes_are_marked_in_the_chart_and_said_below_it() -> None:
    marks = [
        {"handle": "one", "first_day": date(2026, 11, 3), "last_day": date(2026, 11, 4),
         "kind": "note", "summary": "<b>Launch</b>", "stayed": 0.5, "others_stayed": None,
         "tags": None},
        {"handle": "other", "first_day": date(2026, 11, 5), "last_day": date(2026, 11, 5),
         "kind": "purge", "summary": "40 left", "stayed": None, "others_stayed": None, "tags": []},
    ]  # fmt: skip
    report = report_of(one={at: day(100 + at) for at in range(1, 11)})
    page = render(replace(report, marks=marks))
    assert page.count('class="mark"') == 2 * 2  # two days; wide and narrow
    said = re.sub(r"\s+", " ", Seen(page).text)
    assert "2026-11-03 to 2026-11-04 <b>Launch</b>; 50 % of these newcomers stayed for 7" in said
    assert "40 left" not in said


def test_notes_and_events_of_its_handles_are_marked_in_the_chart_of_a_group() -> None:
    of = {"last_day": date(2026, 11, 4), "stayed": None, "others_stayed": None}
    note = {**of, "first_day": date(2026, 11, 3), "kind": "note", "summary": "Launch"}
    purge = {**of, "first_day": date(2026, 11, 4), "kind": "purge", "summary": "40 left"}
    marks = [
        {**note, "handle": "one", "tags": ["acme"]},
        {**note, "handle": "two", "tags": ["acme", "press"]},
        {**purge, "handle": "two", "tags": ["acme", "press"]},
        {**purge, "handle": "else", "tags": ["other"], "summary": "41 left"},
    ]
    report = report_of(one={at: day(100 + at) for at in range(1, 11)})
    figures = {"handles_with_total": 1, "handles": 1, "followers_total": 5, "followers_net": 0,
               "followers_gained": 1, "followers_lost": 1, "followers_lost_provisional": 0,
               "handles_compared": 1}  # fmt: skip
    group = {**figures, "handles_listed": 2, "total": 5, "gained": 1, "lost": 1, "accounts": 9}
    group |= {"shared_accounts": 0, "overlap_share": 0.0, "coverage": 1}
    days = {tag: dict.fromkeys(report.days, figures) for tag in ("acme", "press")}
    page = render(replace(report, marks=marks, groups=[{"tag": tag, **group} for tag in days],
                          group_days=days))  # fmt: skip
    # Two days in three charts: of `one`, of either group; wide and narrow.
    assert page.count('class="mark"') == 2 * 2 * 3
    said = re.sub(r"\s+", " ", Seen(page).text)
    assert said.count("2026-11-03 to 2026-11-04 Launch") == 2
    assert said.count("2026-11-03 to 2026-11-04 two: Launch") == 1
    assert said.count("2026-11-04 purge two: 40 left") == 2
    assert "41 left" not in said


def test_the_newest_day_is_the_last(page: str) -> None:
    assert f"to {NEWEST}" in page
