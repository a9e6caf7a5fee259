"""Invented words, names and bios: ordinary ones, and odd ones that break careless code."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_WORDS = _words(
    "amber brisk calm dusty early foggy gentle happy indigo jolly keen lucky mellow noisy odd "
    "plain quiet rapid sandy tidy upper vivid warm young zesty silver copper little lazy brave "
    "cosy misty"
)
SECOND_WORDS = _words(
    "anchor badger cactus dune ember falcon garden harbor island jasmin kettle lantern meadow "
    "nomad otter pepper quill river saddle teapot umbra violet walnut yonder zephyr biscuit "
    "comet drum fern globe hazel iris"
)

NAMES: tuple[str | None, ...] = (
    "Ada",
    "Marie-Luise",
    "João",
    "Zoë ✨",
    "Łukasz",
    "Ngọc Anh",
    "Ольга",
    "Δήμητρα",
    "محمد",
    "נועה",
    "さくら",
    "小明",
    "김서연",
    "आरव",
    "สมชาย",
    "Mo 🏳️‍🌈",
    "🦊🦊🦊",
    "👩‍👩‍👧‍👦 home",
    "Renée & Paul",
    "K.",
    "user",
    "Tom | music",
    "lena",
    "Big Sam",
    "noor ☾",
    "the real Ivy",
    "Pål",
    "Chidi",
    "Mateus 10",
)

ODD_NAMES: tuple[str | None, ...] = (
    "",
    None,
    "O'Brien",
    'Jo "the cook"',
    "=SUM(A1:A9)",
    "+49 coffee",
    "-1",
    "@everyone",
    "<b>Bold</b>",
    "*stars* _and_ `ticks`",
    "[click](https://example.invalid)",
    "two  spaces",
    "\u202eright to left",
    "ﷺ wide",
    "Z̸a̷l̶g̵o̴",
    "NULL",
    "007",
    "A name that goes on and on until it is cut",
)

BIOS: tuple[str | None, ...] = (
    "",
    "",
    "",
    None,
    "coffee, trains, rain",
    "📍 Lisbon\n🎥 new video every Friday",
    "business: mail at example.invalid",
    "mother of two • runner",
    "حياة جميلة",
    "毎日ラーメン",
    "just here to watch",
    "he/him, 19, Leeds",
    "🎧 mixes on Sundays",
)

ODD_BIOS: tuple[str | None, ...] = (
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    'said "no"; then, yes',
    "@here look at this",
    "line one\r\nline two\twith a tab",
    "'; DROP TABLE accounts; --",
    "\\backslash\\ and 100 % {braces}",
    "💛" * 20,
)

#: Region and language that go together.
LANGUAGES = (
    ("US", "en"),
    ("BR", "pt"),
    ("DE", "de"),
    ("JP", "ja"),
    ("EG", "ar"),
    ("IN", "hi"),
    ("VN", "vi"),
    ("KR", "ko"),
)
