"""`sf-assets completion`: click's completion scripts under our name."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

NAME, VARIABLE = "sf-assets", "_SF_ASSETS_COMPLETE"


def script(command: click.Command, shell: str) -> str:
    """The script for a shell; it calls `sf-assets` for each completion.

    Raises ValueError for a shell that click does not support.
    """
    completion = get_completion_class(shell)
    if completion is None:
        raise ValueError(f"click has no completion for {shell}")
    return completion(command, {}, NAME, VARIABLE).source()
