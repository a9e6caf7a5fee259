"""`sf-assets completion`: what click makes for a shell, under our name."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

NAME, VARIABLE = "sf-assets", "_SF_ASSETS_COMPLETE"


def script(command: click.Command, shell: str) -> str:
    """What the shell is to read. It asks `sf-assets` itself while one types."""
    found = get_completion_class(shell)
    if found is None:
        raise ValueError(f"click completes nothing for {shell}")
    return found(command, {}, NAME, VARIABLE).source()
