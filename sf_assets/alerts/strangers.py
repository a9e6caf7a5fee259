"""What strangers chose, their handles, names and reasons, made harmless for a message.

Chats call people, make links and format what they are sent, each in its own way.
"""

from __future__ import annotations

import re
import unicodedata

from sf_assets.text import clean

NAME_LENGTH = 40
REASON_LENGTH = 600

# What a chat reads as a call to everybody, whatever follows.
_CALLS = re.compile(r"(everyone|here|channel|all|room|group|team|online)", re.IGNORECASE)


def shown(handle: str) -> str:
    """A tracked handle, which wakes nobody."""
    # Normalised handles hold nothing but a-z, 0-9, dots and underscores; this text leaves the
    # house, so it does not lean on that.
    plain = re.sub(r"[^A-Za-z0-9._]", "?", handle)
    # A zero-width space: a person reads the handle, a chat wakes nobody.
    return f"@\u200b{plain}" if _CALLS.match(plain) else f"@{plain}"


def stranger(handle: str) -> str:
    """A handle somebody else chose: it names nobody of the chat, and evil.com is no link."""
    plain = re.sub(r"[^A-Za-z0-9._]", "?", clean(handle))
    return f"@\u200b{plain}".replace(".", ".\u2060")


def quoted(text: str) -> str:
    """Reasons hold the vendor's words and handles: they call nobody, and end somewhere."""
    short = clean(text, REASON_LENGTH)
    return short.replace("@", "@\u200b").replace("://", ":\u2060//")


def plain_name(name: str | None) -> str:
    """A name as letters, digits, emoji and a little punctuation: nothing a chat could act on."""
    kept = "".join(
        char
        if unicodedata.category(char)[0] in "LMN"
        or unicodedata.category(char) == "So"
        or char in " ,'-!?\u200d"
        else "."
        if char == "."
        else " "
        for char in clean(name, NAME_LENGTH)
    )
    return " ".join(kept.replace(".", ".\u2060").split())
