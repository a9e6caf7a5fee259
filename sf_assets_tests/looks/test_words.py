"""Names of strangers are shown, and do nothing."""

from __future__ import annotations

import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest

from sf_assets.render.charts import (
    as_markdown_image,
    chart_css,
    draw,
    sparkline,
)
from sf_assets.text import clean


def test_control_characters_overrides_and_towers_of_marks_are_dropped() -> None:
    assert clean("a\x00b\x07c\u202ed\u2066e\ufefff\n g") == "a b cdef g"
    assert clean("e" + "\u0301" * 40) == "e\u0301\u0301"
    assert clean("👩\u200d🚀") == "👩\u200d🚀"
    assert len(clean("x" * 500)) == 60
    assert clean(None) == ""


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
