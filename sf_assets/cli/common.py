"""What commands share: how they end, their options, the home, handles by name."""

from __future__ import annotations

import io
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
    """A group whose output never fails for a character that the terminal's encoding lacks."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)


class CheckList:
    """Checks of a command as they come: a line each, or all of them as one JSON document."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.said: list[dict[str, Any]] = []

    def say(self, name: str, fine: bool, text: str) -> None:
        """Add the outcome of a check."""
        self.said.append({"check": name, "ok": fine, "says": text})
        if not self.as_json and not (self.quiet and fine):
            click.echo(f"{'ok ' if fine else 'BAD'}  {name:<10}{text}")


def report_errors(command: _Command) -> _Command:
    """Errors a person can mend become one sentence and an exit code, not a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from sf_assets.errors import SettingsError, SfAssetsError

        try:
            return command(*args, **kwargs)
        except SettingsError as error:
            _stop(str(error), WRONG_USAGE)
        except SfAssetsError as error:
            _stop(str(error), SOME_FAILED)
        except BrokenPipeError:
            raise  # `| head` has enough; click ends quietly
        except OSError as error:
            _stop(str(error), WRONG_USAGE)
        except Exception as error:
            # Only who asks for it loads DuckDB.
            duckdb = sys.modules.get("duckdb")
            if duckdb is None or not isinstance(error, duckdb.Error):
                raise
            from sf_assets.settings import load_settings
            from sf_assets.storage.home import Home
            from sf_assets.warehouse.connection import why_unreadable

            _stop(why_unreadable(Home.of(load_settings()).readable, error), WRONG_USAGE)

    return wrapper  # type: ignore[return-value]


def _stop(message: str, code: int) -> None:
    click.echo(f"sf-assets: {message}", err=True)
    sys.exit(code)


def known_home(settings: Settings) -> Home:
    """The home, not made yet. Raises SettingsError where a newer version made it."""
    from sf_assets.storage.home import Home

    home = Home.of(settings)
    home.start_date(settings)
    return home


def registry_of(home: Home) -> Registry:
    """The registry in force, with a warning where it is not what the file says.

    Raises RegistryError where the file is broken and no list was good before.
    """
    from sf_assets.handles.parse import registry_in_force
    from sf_assets.handles.settings import RegistryError

    registry, wrong = registry_in_force(home.registry)
    if wrong is not None and not registry.handles:
        raise RegistryError(wrong)
    if wrong is not None:
        click.echo(f"sf-assets: {wrong}", err=True)
    return registry


def not_published(home: Home) -> SettingsError:
    """What to say where there is no published file yet."""
    from sf_assets.errors import SettingsError

    return SettingsError(
        f"{home.readable} is not there yet: it comes with the first snapshot (sf-assets snapshot)"
    )


def not_tracked(handle: str, registry: Any, otherwise: str | None = None) -> str:
    closest = registry.closest(handle)
    hint = otherwise or f"track it with: sf-assets track {handle}"
    hint = f"did you mean {closest}?" if closest else hint
    return f"{handle} is not tracked; {hint}"


def tracked_handles(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """For shell completion: handles of the registry that go on like this; never an error."""
    from sf_assets.errors import SfAssetsError
    from sf_assets.handles.parse import registry_in_force
    from sf_assets.settings import load_settings
    from sf_assets.storage.home import Home

    try:
        registry, _ = registry_in_force(Home.of(load_settings()).registry)
    except (SfAssetsError, OSError):
        return []
    at, begun = ("@", incomplete[1:]) if incomplete.startswith("@") else ("", incomplete)
    named = {str(one).lstrip("@").lower() for one in context.params.get("handles") or ()}
    return [
        f"{at}{one}"
        for one in registry.handles
        if one.startswith(begun.lower()) and one not in named
    ]
