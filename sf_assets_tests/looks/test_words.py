"""Names of strangers are shown, and do nothing."""

from __future__ import annotations

import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from sf_assets.render.charts import (
    as_markdown_image,
    chart_css,
    draw,
    sparkline,
)
from sf_assets.render.markdown import escape_markdown, profile_link
from sf_assets.text import clean
from sf_assets_tests.looks.conftest import HOSTILE

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# What GitHub's dialect makes a link of, though nothing marks it as one.
BARE_LINK = re.compile(r"https?://[\w.-]+\.\w|www\.[\w-]+\.\w|[\w.+-]+@[\w-]+\.\w")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_text_in_markdown(name: str) -> None:
    html = MARKDOWN.render(f"| a | b |\n| --- | --- |\n| {escape_markdown(name)} | end |")
    assert set(re.findall(r"<(\w+)", html)) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert html.count("<td>") == 2
    assert not BARE_LINK.search(re.sub(r"<[^>]*>", "", html))


def test_the_text_itself_survives() -> None:
    shown = MARKDOWN.renderInline(escape_markdown("Tom & Ann <3 *life* a_b")).replace("\u2060", "")
    assert shown == "Tom &amp; Ann &lt;3 *life* a_b"


def test_control_characters_overrides_and_towers_of_marks_are_dropped() -> None:
    assert clean("a\x00b\x07c\u202ed\u2066e\ufefff\n g") == "a b cdef g"
    assert clean("e" + "\u0301" * 40) == "e\u0301\u0301"
    assert clean("👩\u200d🚀") == "👩\u200d🚀"
    assert len(clean("x" * 500)) == 60
    assert clean(None) == ""


def test_right_to_left_names_stay_in_their_cell() -> None:
    assert escape_markdown("\u05e0\u05e2\u05d4") == "\u2068\u05e0\u05e2\u05d4\u2069"


def test_only_what_can_be_a_handle_becomes_a_link() -> None:
    assert profile_link("a.b_c").endswith("(https://www.tiktok.com/@a.b_c)")
    assert "](" not in profile_link("x](https://evil.test)").replace("\\]\\(", "")
    assert profile_link(None) == "-"


@pytest.mark.parametrize(
    ("values", "line"),
    [([1, 2, 3], "▁▅█"), ([1, None, 8], "▁·█"), ([5, 5], "▄▄"), ([None], ""), ([], "")],
)
def test_a_sparkline_has_one_block_a_value(values: list[float | None], line: str) -> None:
    assert sparkline(values) == line


def test_a_chart_is_plain_svg_without_scripts_or_links() -> None:
    days = [date(2026, 11, 1) + timedelta(days=n) for n in range(30)]
    svg = draw("Line", days, {"a<b&c": list(range(30))}, css=chart_css("#888", "#ccc", ["#00f"]))
    root = ElementTree.fromstring(svg)
    assert not {"script", "a", "image", "foreignObject"} & {
        element.tag.rpartition("}")[2] for element in root.iter()
    }
    assert not re.findall(r"https?://(?!www\.w3\.org)", svg)
    assert len(svg) < 12_000
    assert as_markdown_image(svg, "x").startswith("![x](data:image/svg+xml;base64,")


def test_a_chart_without_any_value_is_drawn_too() -> None:
    days = [date(2026, 11, 1), date(2026, 11, 2)]
    assert draw("Line", days, {"a": [None, None]}).startswith("<svg")
