"""The commands. Heavy imports happen inside them, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sf_assets import __version__
from sf_assets.cli.exit_codes import FINE, SOME_FAILED, WRONG_USAGE

if TYPE_CHECKING:
    from sf_assets.home import Home
    from sf_assets.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

_COMPLETION = """
\b
Example: sf-assets completion bash > ~/.local/share/bash-completion/completions/sf-assets
zsh:     put `eval "$(sf-assets completion zsh)"` into ~/.zshrc
fish:    sf-assets completion fish > ~/.config/fish/completions/sf-assets.fish
"""

_EPILOG = """
\b
Examples: sf-assets demo                              without a key, invented
          sf-assets track @nasa && sf-assets snapshot
          sf-assets snapshot --help                   each has an example

\b
Exit codes: 0 fine; 1 some handles failed, the rest is stored; 2 wrong usage
or settings; 3 the vendor refused us (key or credits).
"""


def _said_clearly(command: _Command) -> _Command:
    """Errors a person can mend become one sentence and an exit code, not a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from sf_assets.settings import SettingsError, SfAssetsError

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
            said = (str(error).splitlines() or [type(error).__name__])[0]
            _stop(
                f"what is published cannot be read ({said}): run sf-assets rebuild, or a "
                "snapshot, which publishes it anew",
                WRONG_USAGE,
            )

    return wrapper  # type: ignore[return-value]


def _stop(message: str, code: int) -> None:
    click.echo(f"sf-assets: {message}", err=True)
    sys.exit(code)


def _tracked_handles(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """For shell completion: handles of the registry that go on like this; never an error."""
    from sf_assets.home import Home
    from sf_assets.registry import read_registry
    from sf_assets.settings import SfAssetsError, load_settings

    try:
        registry = read_registry(Home(load_settings().home).registry)
    except (SfAssetsError, OSError):
        return []
    at, begun = ("@", incomplete[1:]) if incomplete.startswith("@") else ("", incomplete)
    named = {str(one).lstrip("@").lower() for one in context.params.get("handles") or ()}
    return [
        f"{at}{one}"
        for one in registry.handles
        if one.startswith(begun.lower()) and one not in named
    ]


_port = click.option(
    "--port",
    default=3000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Of the Dagster UI, on 127.0.0.1.",
)
_quiet = click.option("-q", "--quiet", is_flag=True, help="Say only what is wrong.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
    help="Daily TikTok follower and following snapshots in DuckDB: who came, who left, and is the "
    "profile still open?",
)
@click.version_option(__version__, prog_name="sf-assets")
def main() -> None:
    # Lists of people: whatever we write is for this user's eyes.
    os.umask(0o077)


@main.command(
    short_help="A month of an invented history, then the Dagster UI.",
    help="Simulator, a month of history through the real pipeline, then the Dagster UI.",
    epilog="Example: sf-assets demo --days 14 --no-ui",
)
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 90),
    help="Length of the history, which ends today.",
)
@_port
@click.option("--no-ui", is_flag=True, help="Stop when the history is made.")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("sf_assets_demo"),
    show_default=True,
    help="Folder of the demo; made anew each time.",
)
@_said_clearly
def demo(days: int, port: int, no_ui: bool, home: Path) -> None:
    from sf_assets.cli.demo import run_demo

    sys.exit(run_demo(days=days, port=port, ui=not no_ui, home=home.absolute()))


@main.command(
    short_help="Dagster UI and daily schedule on this home.",
    help="The real thing: Dagster webserver and daemon on this home, for this machine only.",
    epilog="Example: SOCIALFETCH_API_KEY=sfk_… sf-assets up --port 3000",
)
@_port
@_said_clearly
def up(port: int) -> None:
    from sf_assets.cli.up import check, run_up
    from sf_assets.home import Home
    from sf_assets.settings import load_settings

    settings = load_settings()
    if not settings.simulated:
        settings.require_key()
    check(settings, port)
    home = Home.of(settings).ensure(settings)
    sys.exit(run_up(home, port))


@main.command(
    short_help="Track handles: adds them to handles.yaml.",
    help="Track handles: adds them to handles.yaml.",
    epilog="Example: sf-assets track @nasa esa --relation followers",
)
@click.argument("handles", nargs=-1, required=True)
@click.option(
    "--relation",
    type=click.Choice(["followers", "following", "both"]),
    help="Which lists; both unless handles.yaml says otherwise.",
)
@click.option("--pages", type=click.IntRange(min=1), help="Read at most so many pages of a list.")
@click.option(
    "--depth",
    type=click.Choice(["full", "recent"]),
    help="recent: read from the top until what comes is known, all of it once a week.",
)
@click.option("--priority", type=int, help="The higher, the earlier its pages are bought.")
@_quiet
@_json
@_said_clearly
def track(
    handles: tuple[str, ...],
    relation: str | None,
    pages: int | None,
    depth: str | None,
    priority: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from sf_assets.cli.tables import print_json
    from sf_assets.registry import normalise_handle, read_registry, track
    from sf_assets.settings import load_settings

    settings = load_settings()
    own: dict[str, Any] = {}
    if relation is not None:
        own["relations"] = ["followers", "following"] if relation == "both" else [relation]
    if pages is not None and depth is not None:
        raise click.UsageError("choose one of --pages and --depth")
    if pages is not None:
        own["depth"] = {"pages": pages}
    if depth is not None:
        own["depth"] = depth
    if priority is not None:
        own["priority"] = priority
    # Checked before the home is made: a typing error must not leave a folder behind.
    wanted = [normalise_handle(handle) for handle in handles]
    home = _known_home(settings)
    read_registry(home.registry)
    home.ensure(settings)
    new = track(home.registry, wanted, own)
    if as_json:
        print_json([{"handle": one, "new": one in new} for one in dict.fromkeys(wanted)])
    elif not quiet:
        for handle in dict.fromkeys(wanted):
            click.echo(f"{handle}: {'tracked' if handle in new else 'was tracked already'}")
        click.echo(f"{home.registry}. Snapshot now with: sf-assets snapshot")


@main.command(
    short_help="Stop tracking handles; what is stored stays.",
    help="Stop tracking handles: takes them out of handles.yaml. What is stored stays.",
    epilog="Example: sf-assets untrack esa",
)
@click.argument("handles", nargs=-1, required=True, shell_complete=_tracked_handles)
@_quiet
@_json
@_said_clearly
def untrack(handles: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.tables import print_json
    from sf_assets.registry import normalise_handle, read_registry, untrack
    from sf_assets.settings import SettingsError, load_settings

    home = _known_home(load_settings())
    registry = read_registry(home.registry)
    for handle in handles:
        if normalise_handle(handle) not in registry.handles:
            raise SettingsError(
                _not_tracked(normalise_handle(handle), registry, "see: sf-assets handles")
            )
    gone = untrack(home.registry, list(handles))
    if as_json:
        print_json([{"handle": one} for one in gone])
    elif not quiet:
        for handle in gone:
            click.echo(f"{handle}: no longer tracked; what is stored stays")


@main.command(
    short_help="The tracked handles with their latest snapshots.",
    help="Show the tracked handles with their latest snapshots.",
    epilog="Example: sf-assets handles",
)
@_json
@_said_clearly
def handles(as_json: bool) -> None:
    from sf_assets.cli.tables import latest_snapshots, print_json, print_table
    from sf_assets.registry import read_registry
    from sf_assets.settings import load_settings

    home = _known_home(load_settings())
    registry = read_registry(home.registry)
    if not registry.handles and not as_json:
        click.echo("no handle is tracked yet: sf-assets track HANDLE")
        return
    latest = latest_snapshots(home)
    rows = []
    for handle, own in registry.handles.items():
        for relation in own.relations:
            last = latest.get((relation, handle), {})
            depth = own.of(relation).said()
            rows.append({"handle": handle, "relation": relation, "depth": depth, **last})
    columns = ["handle", "relation", "depth", "last", "status", "listed", "total", "completeness"]
    if as_json:
        print_json([{name: row.get(name) for name in columns} for row in rows])
    else:
        print_table(columns, [[row.get(name) for name in columns] for row in rows])


@main.command(
    short_help="Take today's snapshots now, churn and growth included.",
    help="Snapshot today's lists now, through the same assets as the schedule, churn and growth "
    "included. No handle named: all tracked ones that are due today. What is finished for the day "
    "is not bought again.",
    epilog="Example: sf-assets snapshot nasa --relation followers",
)
@click.argument("handles", nargs=-1, shell_complete=_tracked_handles)
@click.option(
    "--relation",
    type=click.Choice(["followers", "following", "both"]),
    default="both",
    show_default=True,
    help="Which of the tracked lists.",
)
@click.option("--refresh", is_flag=True, help="Walk finished lists again; buys their pages again.")
@click.option("-v", "--verbose", is_flag=True, help="Show Dagster's log.")
@_quiet
@_json
@_said_clearly
def snapshot(
    handles: tuple[str, ...],
    relation: str,
    refresh: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from sf_assets.cli.runs import Manner, run_snapshot
    from sf_assets.registry import normalise_handle, read_registry
    from sf_assets.settings import RELATIONS, SettingsError, load_settings

    settings = load_settings()
    if not settings.simulated:
        settings.require_key()
    home = _known_home(settings)
    registry = read_registry(home.registry)
    named = dict.fromkeys(normalise_handle(handle) for handle in handles)
    wanted = list(named or registry.handles)
    if not wanted:
        raise SettingsError("no handle is tracked yet: sf-assets track HANDLE")
    for handle in wanted:
        if handle not in registry.handles:
            raise SettingsError(_not_tracked(handle, registry))
    relations = [one for one in RELATIONS if relation in (one, "both")]
    home.ensure(settings)
    manner = Manner(verbose=verbose, quiet=quiet, as_json=as_json)
    sys.exit(
        run_snapshot(
            settings,
            home,
            wanted,
            relations,
            refresh=refresh,
            due_only=not named,
            manner=manner,
        )
    )


@main.command(
    short_help="Ask the published database; without SQL, list its tables.",
    help="Ask the published database. Without SQL: list its tables.",
    epilog='Example: sf-assets query "SELECT * FROM follower_growth" --csv > growth.csv',
)
@click.argument("sql", required=False)
@click.option("--json", "as_json", is_flag=True, help="A JSON array of objects.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a header.")
@click.option("--parquet", type=click.Path(path_type=Path, dir_okay=False), help="A Parquet file.")
@click.option("--examples", is_flag=True, help="Print ten questions with their SQL.")
@_said_clearly
def query(
    sql: str | None, as_json: bool, as_csv: bool, parquet: Path | None, examples: bool
) -> None:
    if examples:
        from sf_assets.cli.examples import examples_text

        click.echo(examples_text())
        return
    from sf_assets.cli.tables import run_query
    from sf_assets.settings import load_settings

    if (as_json + as_csv + (parquet is not None)) > 1:
        raise click.UsageError("choose one of --json, --csv and --parquet")
    form = "json" if as_json else "csv" if as_csv else "table"
    run_query(_known_home(load_settings()), sql, form, parquet)


@main.command(
    short_help="What the tracked lists will cost, and when credits run out.",
    help="What the tracked lists will cost, from what they have cost; what `depth: recent` would "
    "save; when the balance runs out. Of a handle that is not tracked it buys one page, after "
    "asking.",
    epilog="Example: sf-assets forecast --days 90",
)
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 366),
    help="How far to look ahead.",
)
@click.option("--handle", help="Only this one; it need not be tracked.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
@click.option("--yes", is_flag=True, help="Buy the one page without asking.")
@_said_clearly
def forecast(days: int, handle: str | None, as_json: bool, yes: bool) -> None:
    from sf_assets.cli.forecast import run_forecast
    from sf_assets.settings import load_settings

    settings = load_settings()
    sys.exit(run_forecast(settings, _known_home(settings), days, handle, as_json=as_json, yes=yes))


@main.command(
    short_help="One HTML file to pass on: growth, churn, status, spend.",
    help="Write a report to pass on: one HTML file that needs no network.",
    epilog="Example: sf-assets report --handle nasa --days 90 -o nasa.html",
)
@click.option(
    "--handle",
    "handles",
    multiple=True,
    shell_complete=_tracked_handles,
    help="Only this one; may be repeated.",
)
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(2, 366),
    help="Up to the newest snapshot.",
)
@click.option(
    *("-o", "--output"),
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="Where to write it.",
)
@_quiet
@_json
@_said_clearly
def report(handles: tuple[str, ...], days: int, output: Path, quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.report import run_report
    from sf_assets.settings import load_settings

    run_report(_known_home(load_settings()), handles, days, output, quiet=quiet, as_json=as_json)


@main.group(
    invoke_without_command=True,
    short_help="The newest alerts, and whether they went out.",
    help="The newest alerts, and whether they went out. Without a command: list them.",
    epilog="Example: sf-assets alerts --limit 5; sf-assets alerts test",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Show so many.",
)
@_json
@click.pass_context
@_said_clearly
def alerts(context: click.Context, limit: int, as_json: bool) -> None:
    if context.invoked_subcommand is not None:
        return
    from sf_assets.cli.alerts import run_list
    from sf_assets.settings import load_settings

    settings = load_settings()
    run_list(_known_home(settings), settings, limit, as_json)


@alerts.command(
    "test",
    short_help="A sample to every address, and where it arrived.",
    help="Send a sample, marked as a test, to every address in SF_ASSETS_ALERT_URLS, and say where "
    "it arrived. Exit code 1 where it did not.",
    epilog="Example: SF_ASSETS_ALERT_URLS=discord://id/token sf-assets alerts test",
)
@_quiet
@_json
@_said_clearly
def alerts_test(quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.alerts import run_test
    from sf_assets.settings import load_settings

    sys.exit(FINE if run_test(load_settings(), as_json, quiet) else SOME_FAILED)


@main.command(
    short_help="Completion for bash, zsh or fish.",
    help="Print what makes a shell complete commands, options and tracked handles.",
    epilog=_COMPLETION,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@_said_clearly
def completion(shell: str) -> None:
    from sf_assets.cli.completion import script

    click.echo(script(main, shell))


@main.command(
    short_help="Only the simulator: a Social Fetch on loopback.",
    help="Only the simulator: a Social Fetch of our own on loopback, with an invented world.",
    epilog="Example: sf-assets simulate --port 8899 --seed 7",
)
@click.option(
    "--port",
    default=8899,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Where to listen on 127.0.0.1; 0: any that is free.",
)
@click.option("--seed", default=1, show_default=True, help="Another seed, another world.")
@click.option(
    "--preset",
    type=click.Choice(["demo", "small", "worst", "bench"]),
    default="demo",
    show_default=True,
    help="Which world.",
)
@click.option("--handles", type=click.IntRange(min=1), help="Number of profiles (worst, bench).")
@click.option("--accounts", type=click.IntRange(min=1), help="Followers of each (worst, bench).")
@click.option(
    "--page-size",
    default=20,
    show_default=True,
    type=click.IntRange(1, 200),
    help="Accounts a page.",
)
@click.option("--latency-ms", default=0.0, show_default=True, help="Before each answer.")
@click.option("--balance", default=1_000_000, show_default=True, help="Credits of the account.")
@click.option("--fault-rate", default=0.0, show_default=True, help="Share of spoiled answers.")
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="The day to answer for.")
@_said_clearly
def simulate(
    port: int,
    seed: int,
    preset: str,
    handles: int | None,
    accounts: int | None,
    page_size: int,
    latency_ms: float,
    balance: int,
    fault_rate: float,
    today: Any,
) -> None:
    from datetime import datetime, timezone
    from typing import cast

    from sf_assets.settings import SettingsError
    from sf_assets.simulator import Options, Preset, preset_world, run

    day = today.date() if today else None
    try:
        world = preset_world(
            cast(Preset, preset),
            today=day or datetime.now(timezone.utc).date(),
            seed=seed,
            handles=handles,
            accounts=accounts,
        )
        options = Options(
            page_size=page_size,
            latency_ms=latency_ms,
            balance=balance,
            fault_rate=fault_rate,
            day=day,
        )
        run(world, options, port=port)
    except (ValueError, OSError) as error:
        raise SettingsError(f"simulate: {error}") from None


@main.command(
    short_help="Check key, credits, home, disk, grid, alerts; what to do.",
    help="Check key, balance, home, disk, DuckDB, grid, clock and alerts; say what to do.",
    epilog="Example: sf-assets doctor",
)
@_quiet
@_json
@_said_clearly
def doctor(quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.doctor import run_doctor

    sys.exit(run_doctor(quiet=quiet, as_json=as_json))


@main.command(
    short_help="The warehouse anew from archive and landing; buys nothing.",
    help="Make the warehouse anew from the archive and the landed pages; nothing is bought. The "
    "old file is kept beside it.",
    epilog="Example: sf-assets rebuild",
)
@_quiet
@_said_clearly
def rebuild(quiet: bool) -> None:
    from sf_assets.home import Home
    from sf_assets.settings import load_settings
    from sf_assets.warehouse.rebuild import rebuild

    settings = load_settings()
    home = Home.of(settings).ensure(settings)
    made = rebuild(home)
    if not quiet:
        click.echo(
            f"{made.snapshots} snapshots replayed into {home.writable}"
            + ("" if home.lake else f"; published as {home.published}")
            + (f". The old warehouse is kept as {made.old}" if made.old else "")
        )
    for problem in made.problems:
        click.echo(f"not replayed: {problem}", err=True)
    sys.exit(SOME_FAILED if made.problems else FINE)


@main.command(
    short_help="Copy everything into a lake, or back.",
    help="Copy everything to a lake (or back with --to duckdb), compare it, and leave what is here "
    "as it is. Stop `sf-assets up` first.",
    epilog="Example: sf-assets migrate --to 'ducklake:postgres:host=db dbname=lake' "
    "--storage s3://bucket/sf",
)
@click.option("--to", "address", required=True, help="An SF_ASSETS_WAREHOUSE, or duckdb.")
@click.option("--storage", help="An SF_ASSETS_STORAGE: a folder or s3://bucket/prefix.")
@click.option(
    *("--home", "folder"),
    type=click.Path(path_type=Path, file_okay=False),
    help="The new home, with a copy of the registry; the present one unless given.",
)
@_said_clearly
def migrate(address: str, storage: str | None, folder: Path | None) -> None:
    from sf_assets.home import Home
    from sf_assets.migrate import migrate
    from sf_assets.settings import SettingsError, load_settings

    settings = load_settings()
    source = _known_home(settings)
    wanted = {"SF_ASSETS_WAREHOUSE": None if address == "duckdb" else address}
    wanted |= {"SF_ASSETS_STORAGE": storage, "SF_ASSETS_HOME": str(folder or settings.home)}
    if address == "duckdb" and storage is not None:
        raise SettingsError("migrate: a DuckDB file is kept in the home; leave out --storage")
    target = Home.of(load_settings(wanted))
    migrate(source, target, click.echo)
    click.echo("everything is copied; from now on set")
    for name, value in wanted.items():
        shown = str(target.lake) if value and name == "SF_ASSETS_WAREHOUSE" else value
        click.echo(f"  {name}={shown}" if value else f"  {name}, not any more")


def _known_home(settings: Settings) -> Home:
    """The home, not made yet. Raises SettingsError where a newer version made it."""
    from sf_assets.home import Home

    home = Home.of(settings)
    home.start_date(settings)
    return home


def _not_tracked(handle: str, registry: Any, otherwise: str | None = None) -> str:
    closest = registry.closest(handle)
    hint = otherwise or f"track it with: sf-assets track {handle}"
    hint = f"did you mean {closest}?" if closest else hint
    return f"{handle} is not tracked; {hint}"
