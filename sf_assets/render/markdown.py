"""Names of strangers made harmless in Markdown."""

from __future__ import annotations

import re
import string
import unicodedata

from sf_assets.text import NAME_LENGTH, clean

# Letters and digits between which Markdown means nothing, in any renderer.
_LINKABLE = re.compile(r"[A-Za-z0-9_.]+")

_MARKUP = re.compile("([" + re.escape(string.punctuation) + "])")

# Renderers make links of bare addresses even where they are escaped: a word joiner, which nobody
# sees, keeps www.example.com and a@example.com plain text.
_BREAKS_LINKS = str.maketrans({mark: f"{mark}\u2060" for mark in "./@:"})


def escape_markdown(text: str | None, length: int = NAME_LENGTH) -> str:
    """`clean` text that Markdown shows as it is: no link, picture, markup or HTML comes of it."""
    line = clean(text, length)
    isolate = any(unicodedata.bidirectional(char) in ("R", "AL") for char in line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKUP.sub(_escaped, line).translate(_BREAKS_LINKS)
    return f"\u2068{line}\u2069" if isolate else line


def _escaped(found: re.Match[str]) -> str:
    # The three of an entity stay.
    return found[0] if found[0] in "&;" else "\\" + found[0]


def profile_link(handle: str | None) -> str:
    """A handle as a Markdown link to its profile; plain text where it is none TikTok could have."""
    if handle and _LINKABLE.fullmatch(handle):
        return f"[@{escape_markdown(handle)}](https://www.tiktok.com/@{handle})"
    return escape_markdown(handle) or "-"
