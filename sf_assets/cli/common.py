"""Shared by the commands: error handling, options, the home, handles."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sf_assets.cli.exit_codes import SOME_FAILED, WRONG_USAGE

if TYPE_CHECKING:
    from sf_assets.errors import SettingsError
    from sf_assets.handles.settings import Registry
    from sf_assets.settings import Settings
    from sf_assets.storage.home import Home

_Command = TypeVar("_Command", bound=Callable[..., Any])

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document, for scripts."
)


tag_option = click.option(
    "--tag",
    "tags",
    multiple=True,
    help="Limit to handles with this tag in handles.yaml. May be repeated.",
)


class Commands(click.Group):
    """A group that prints `?` for characters that the terminal's encoding lacks."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; see `click.Group.main`."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)


class CheckList:
    """Results of a command's checks: printed one per line, or collected for one JSON document."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.results: list[dict[str, Any]] = []

    def add(self, name: str, ok: bool, text: str) -> None:
        """Add the result of a check."""
        self.results.append({"check": name, "ok": ok, "says": text})
        if not self.as_json and not (self.quiet and ok):
            click.echo(f"{'ok ' if ok else 'BAD'}  {name:<10}{text}")


def report_errors(command: _Command) -> _Command:
    """Turn errors that the user can fix into one line and an exit code, without a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from sf_assets.errors import SettingsError, SfAssetsError

        _warn_of_misspelt_variables()
        try:
            return command(*args, **kwargs)
        except SettingsError as error:
            _stop(str(error), WRONG_USAGE)
        except SfAssetsError as error:
            _stop(str(error), SOME_FAILED)
        except BrokenPipeError:
            raise  # `| head` closed the pipe; click exits quietly
        except OSError as error:
            _stop(str(error), WRONG_USAGE)
        except Exception as error:
            # Only commands that use DuckDB import it.
            duckdb = sys.modules.get("duckdb")
            if duckdb is None or not isinstance(error, duckdb.Error):
                raise
            from sf_assets.settings import load_settings
            from sf_assets.storage.home import Home
            from sf_assets.warehouse.connection import why_unreadable

            _stop(why_unreadable(Home.of(load_settings()).readable, error), WRONG_USAGE)

    return wrapper  # type: ignore[return-value]


def _warn_of_misspelt_variables() -> None:
    """Warn once in a process about variables that are ignored; `doctor` reports them itself."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name == "doctor" or context.meta.get(__name__):
        return
    context.meta[__name__] = True
    from sf_assets.settings import misspelt_variables

    if names := misspelt_variables(os.environ):
        ending = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} ignored"
        click.echo(f"sf-assets: unknown variable {ending}: correct the name", err=True)


def _stop(message: str, code: int) -> None:
    click.echo(f"sf-assets: {message}", err=True)
    sys.exit(code)


def checked_home(settings: Settings) -> Home:
    """The home; does not create it. Raises SettingsError if a newer version created it."""
    from sf_assets.storage.home import Home

    home = Home.of(settings)
    home.start_date(settings)
    return home


def registry_of(home: Home) -> Registry:
    """The registry in force. Prints a warning if handles.yaml is invalid and an earlier version
    applies.

    Raises RegistryError if the file is invalid and there is no earlier version.
    """
    from sf_assets.handles.parse import registry_in_force
    from sf_assets.handles.settings import RegistryError

    registry, problem = registry_in_force(home.registry)
    if problem is not None and not registry.handles:
        raise RegistryError(problem)
    if problem is not None:
        click.echo(f"sf-assets: {problem}", err=True)
    return registry


def not_published(home: Home) -> SettingsError:
    """The error for a home that has no published file yet."""
    from sf_assets.errors import SettingsError

    return SettingsError(
        f"{home.readable} does not exist yet; the first snapshot creates it (sf-assets snapshot)"
    )


def not_tracked(handle: str, registry: Any, otherwise: str | None = None) -> str:
    """The message for a handle that is not tracked, with the closest tracked handle or a hint."""
    closest = registry.closest(handle)
    hint = otherwise or f"track it with: sf-assets track {handle}"
    hint = f"did you mean {closest}?" if closest else hint
    return f"{handle} is not tracked; {hint}"


def tracked_handles(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """For shell completion: tracked handles that start with `incomplete`. Never raises."""
    from sf_assets.errors import SfAssetsError
    from sf_assets.handles.parse import registry_in_force
    from sf_assets.settings import load_settings
    from sf_assets.storage.home import Home

    try:
        registry, _ = registry_in_force(Home.of(load_settings()).registry)
    except (SfAssetsError, OSError):
        return []
    at, prefix = ("@", incomplete[1:]) if incomplete.startswith("@") else ("", incomplete)
    given = {str(handle).lstrip("@").lower() for handle in context.params.get("handles") or ()}
    return [
        f"{at}{handle}"
        for handle in registry.handles
        if handle.startswith(prefix.lower()) and handle not in given
    ]
