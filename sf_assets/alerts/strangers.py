"""Makes text from strangers (handles, names, error messages) harmless in a message.

Chats notify people, make links and apply formatting, each in its own way.
"""

from __future__ import annotations

import re
import unicodedata

from sf_assets.text import clean

NAME_LENGTH = 40
REASON_LENGTH = 600

# Words after an @ with which chats notify everybody.
_CALLS = re.compile(r"(everyone|here|channel|all|room|group|team|online)", re.IGNORECASE)


def shown(handle: str) -> str:
    """A tracked handle for a message. It notifies nobody."""
    # Normalised handles hold only a-z, 0-9, dots and underscores. Checked again, because the text
    # leaves this machine.
    plain = re.sub(r"[^A-Za-z0-9._]", "?", handle)
    # A zero-width space, which people do not see and chats do not match.
    return f"@\u200b{plain}" if _CALLS.match(plain) else f"@{plain}"


def stranger(handle: str) -> str:
    """The handle of a stranger for a message. It notifies nobody and makes no link."""
    plain = re.sub(r"[^A-Za-z0-9._]", "?", clean(handle))
    return f"@\u200b{plain}".replace(".", ".\u2060")


def quoted(text: str) -> str:
    """An error message, shortened. It notifies nobody and makes no link."""
    short = clean(text, REASON_LENGTH)
    return short.replace("@", "@\u200b").replace("://", ":\u2060//")


def plain_name(name: str | None) -> str:
    """A name with only letters, digits, emoji and a little punctuation, without formatting."""
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
