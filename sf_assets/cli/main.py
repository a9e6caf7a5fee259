"""The commands. They import heavy modules inside the function, so that `--help` stays fast."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import click

from sf_assets import __version__
from sf_assets.cli.common import (
    Commands,
    checked_home,
    json_option,
    not_tracked,
    quiet_option,
    registry_of,
    report_errors,
    tag_option,
    tracked_handles,
)
from sf_assets.cli.exit_codes import FINE, SOME_FAILED
from sf_assets.cli.forget import forget
from sf_assets.cli.importing import import_lists
from sf_assets.cli.tracking import handles, track, untrack
from sf_assets.cli.upkeep import backup, bundle, doctor, migrate, probe, rebuild, verify

_COMPLETION = """
\b
Example: sf-assets completion bash > ~/.local/share/bash-completion/completions/sf-assets
zsh:     put `eval "$(sf-assets completion zsh)"` into ~/.zshrc
fish:    sf-assets completion fish > ~/.config/fish/completions/sf-assets.fish
"""

_EPILOG = """
\b
Examples: sf-assets demo                              needs no API key
          sf-assets track @nasa && sf-assets snapshot
          sf-assets snapshot --help                   help and an example

\b
Exit codes: 0 success; 1 some handles failed, the rest is stored; 2 wrong
usage or settings; 3 the API rejected the request (key or credits).
"""


port_option = click.option(
    "--port",
    default=3000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port for the Dagster UI (on 127.0.0.1).",
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
    help="Take daily snapshots of TikTok follower and following lists and keep them in DuckDB: "
    "who followed, who unfollowed, and is the profile still public?",
)
@click.version_option(__version__, prog_name="sf-assets")
def main() -> None:
    # The files hold lists of people, so only this user may read them.
    os.umask(0o077)
    # Arrow's own allocator keeps what is freed; read where Arrow is loaded, here and in children.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


for _command in (
    track,
    untrack,
    handles,
    import_lists,
    probe,
    bundle,
    doctor,
    rebuild,
    backup,
    verify,
    migrate,
    forget,
):
    main.add_command(_command)


@main.command(
    short_help="Build a month of simulated history, then open the Dagster UI.",
    help="Start the simulator, run a month of simulated history through the real pipeline, and "
    "serve the Dagster UI. Needs no API key.",
    epilog="Example: sf-assets demo --days 14 --no-ui",
)
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 90),
    help="Number of days of history, up to today.",
)
@port_option
@click.option(
    "--no-ui", is_flag=True, help="Exit when the history is complete; do not start the UI."
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("sf_assets_demo"),
    show_default=True,
    help="Folder for the demo. It is emptied at each start.",
)
@report_errors
def demo(days: int, port: int, no_ui: bool, home: Path) -> None:
    from sf_assets.cli.demo import run_demo

    sys.exit(run_demo(days=days, port=port, ui=not no_ui, home=home.absolute()))


@main.command(
    short_help="Run the Dagster UI and the daily schedule on this home.",
    help="Run the Dagster webserver and daemon on this home. The UI listens on this machine only.",
    epilog="Example: SOCIALFETCH_API_KEY=sfk_… sf-assets up --port 3000",
)
@port_option
@report_errors
def up(port: int) -> None:
    from sf_assets.cli.up import check, listening, run_up
    from sf_assets.settings import load_settings
    from sf_assets.storage.home import Home

    settings = load_settings()
    if not settings.simulated:
        settings.require_key()
    with listening(port) as ui:
        check(settings)
        home = Home.of(settings).ensure(settings)
        sys.exit(run_up(home, ui))


@main.command(
    short_help="Take today's snapshots now, and update churn and growth.",
    help="Take today's snapshots now and update churn and growth. Uses the same assets as the "
    "schedule. Without HANDLES, reads all tracked handles that are due today. Lists that are "
    "finished for the day are not fetched again.",
    epilog="Example: sf-assets snapshot nasa --relation followers",
)
@click.argument("handles", nargs=-1, shell_complete=tracked_handles)
@tag_option
@click.option(
    "--relation",
    type=click.Choice(["followers", "following", "both"]),
    default="both",
    show_default=True,
    help="Which of the tracked lists to read.",
)
@click.option(
    "--refresh", is_flag=True, help="Read finished lists again. This pays for their pages again."
)
@click.option("-v", "--verbose", is_flag=True, help="Show Dagster's log.")
@quiet_option
@json_option
@report_errors
def snapshot(
    handles: tuple[str, ...],
    tags: tuple[str, ...],
    relation: str,
    refresh: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    gc.disable()  # makes the imports a tenth faster
    from sf_assets.cli.snapshot import ListsToRead, OutputOptions, run_snapshot
    from sf_assets.errors import SettingsError
    from sf_assets.handles.settings import normalise_handle
    from sf_assets.model import RELATIONS
    from sf_assets.settings import load_settings

    settings = load_settings()
    if not settings.simulated:
        settings.require_key()
    home = checked_home(settings)
    registry = registry_of(home)
    if handles and tags:
        raise click.UsageError("use HANDLES or --tag, not both")
    named = dict.fromkeys(normalise_handle(handle) for handle in handles)
    selected = list(named or (registry.tagged(tags) if tags else registry.handles))
    if not selected:
        raise SettingsError("no handle is tracked yet; run: sf-assets track HANDLE")
    for handle in selected:
        if handle not in registry.handles:
            raise SettingsError(not_tracked(handle, registry))
    relations = [each for each in RELATIONS if relation in (each, "both")]
    home.ensure(settings)
    wanted = ListsToRead(selected, relations, refresh=refresh, due_only=not named)
    output = OutputOptions(verbose=verbose, quiet=quiet, as_json=as_json)
    sys.exit(run_snapshot(settings, home, wanted, output))


@main.command(
    short_help="Show everything stored about one account, across all lists.",
    help="Show everything stored about one account: each stay in a tracked list, when it began "
    "and ended and what proves that, renames, and the current profile. ACCOUNT is a handle, a "
    "profile URL, a numeric id or a secUid.",
    epilog="Example: sf-assets account @somebody",
)
@click.argument("account")
@click.option(
    "--export",
    "file",
    metavar="FILE",
    help="Write everything stored about the person, raw records included, as JSON to FILE (- for "
    "standard output).",
)
@json_option
@report_errors
def account(account: str, file: str | None, as_json: bool) -> None:
    from sf_assets.cli.account import export_account, run_account
    from sf_assets.settings import load_settings

    home = checked_home(load_settings())
    if file is not None:
        export_account(home, account.strip(), file)
    else:
        run_account(home, account.strip(), as_json=as_json)


@main.command(
    short_help="Query the published database. Without SQL, list its tables.",
    help="Query the published database. Without SQL, list its tables.",
    epilog="""
\b
Examples: sf-assets query --example who_left --handle nasa --days 1
          sf-assets query "SELECT * FROM follower_growth" --csv > growth.csv
""",
)
@click.argument("sql", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@click.option(
    "--parquet", type=click.Path(path_type=Path, dir_okay=False), help="Write a Parquet file."
)
@click.option(
    "--xlsx", type=click.Path(path_type=Path, dir_okay=False), help="Write an Excel file."
)
@click.option(
    "--example",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Run a named query. Without NAME, list them.",
)
@click.option(
    "--handle",
    "handles",
    multiple=True,
    shell_complete=tracked_handles,
    help="With --example: limit to this handle. May be repeated, and combined with --tag.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    help="With --example: limit to handles with this tag in handles.yaml, or to this group if the "
    "query is about groups. May be repeated.",
)
@click.option(
    "--days", type=click.IntRange(1, 3660), help="With --example: limit to the newest DAYS days."
)
@click.option("--examples", is_flag=True, help="Print all named queries with their SQL.")
@click.option(
    "--sandbox",
    is_flag=True,
    help="Run SQL that you do not trust: it cannot reach other files, the network or settings.",
)
@report_errors
def query(
    sql: str | None,
    as_json: bool,
    as_csv: bool,
    parquet: Path | None,
    xlsx: Path | None,
    example: str | None,
    handles: tuple[str, ...],
    tags: tuple[str, ...],
    days: int | None,
    examples: bool,
    sandbox: bool,
) -> None:
    if examples:
        from sf_assets.cli.examples import examples_text

        click.echo(examples_text())
        return
    from sf_assets.cli.tables import print_json, print_table, run_query
    from sf_assets.settings import load_settings

    file = parquet or xlsx
    if (as_json + as_csv + (parquet is not None) + (xlsx is not None)) > 1:
        raise click.UsageError("choose one of --json, --csv, --parquet and --xlsx")
    if example is None and (handles or tags or days):
        raise click.UsageError("--handle, --tag and --days work with --example only")
    if example is not None and sql is not None:
        raise click.UsageError("choose one of --example and SQL")
    home = checked_home(load_settings())
    if example == "":
        from sf_assets.cli.examples import examples as all_examples

        columns = ("name", "question")
        rows = [(example.name, example.question) for example in all_examples()]
        if as_json:
            print_json([dict(zip(columns, row, strict=True)) for row in rows])
        else:
            print_table(columns, rows)
        return
    if example is not None:
        from sf_assets.cli.examples import example as example_of
        from sf_assets.cli.examples import refuse_unknown
        from sf_assets.handles.settings import normalise_handle

        question = example_of(example)
        chosen = [normalise_handle(handle) for handle in handles]
        refuse_unknown(home, chosen)
        tagged = registry_of(home).tagged(tags) if tags else ()
        chosen += () if question.of_tags else tagged
        sql = question.sql(chosen or None, tags or None, days)
    form = "json" if as_json else "csv" if as_csv else "xlsx" if xlsx else "table"
    run_query(home, sql, form, file, sandbox=sandbox)


@main.command(
    short_help="Estimate what the lists will cost, and how long credits last.",
    help="Estimate what the tracked lists will cost, based on past days, what `depth: recent` "
    "saves, and when the balance runs out. For a handle that is not tracked, buys one page after "
    "asking.",
    epilog="Example: sf-assets forecast --days 90",
)
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 366),
    help="Number of days to look ahead.",
)
@click.option("--handle", help="Limit to this handle. It does not need to be tracked.")
@tag_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.option("--yes", is_flag=True, help="Buy the page without asking.")
@report_errors
def forecast(
    days: int, handle: str | None, tags: tuple[str, ...], as_json: bool, yes: bool
) -> None:
    from sf_assets.cli.forecast import run_forecast
    from sf_assets.settings import load_settings

    if handle and tags:
        raise click.UsageError("choose one of --handle and --tag")
    settings = load_settings()
    home = checked_home(settings)
    sys.exit(run_forecast(settings, home, days, handle, tags, as_json=as_json, yes=yes))


@main.command(
    short_help="Write an HTML or PDF report: growth, churn, groups, spend.",
    help="Write a report to share: one self-contained HTML file, or a PDF (needs Chromium or "
    "Chrome).",
    epilog="Example: sf-assets report --tag acme --title 'Acme in May' --logo acme.png -o acme.pdf",
)
@click.option(
    "--handle",
    "handles",
    multiple=True,
    shell_complete=tracked_handles,
    help="Limit to this handle. May be repeated.",
)
@tag_option
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(2, 366),
    help="Number of days, up to the newest snapshot.",
)
@click.option(
    *("-o", "--output"),
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="File to write. A name that ends in .pdf makes a PDF.",
)
@click.option("--title", help="Title of the report. Also leaves out the credits spent.")
@click.option(
    "--logo",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Picture above the title: PNG, JPEG, GIF, WebP or SVG, up to 1 MB.",
)
@click.option(
    "--text",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Text file with paragraphs to show below the title.",
)
@click.option(
    "--people",
    is_flag=True,
    help="Include the accounts that followed or unfollowed, with a search.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the report in the browser.")
@quiet_option
@json_option
@report_errors
def report(
    handles: tuple[str, ...],
    tags: tuple[str, ...],
    days: int,
    output: Path,
    title: str | None,
    logo: Path | None,
    text: Path | None,
    people: bool,
    open_it: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from sf_assets.cli.report import letterhead, run_report
    from sf_assets.settings import load_settings

    settings = load_settings()
    run_report(
        settings,
        checked_home(settings),
        handles,
        tags,
        days,
        output,
        head=letterhead(title, logo, text),
        people=people,
        open_it=open_it,
        quiet=quiet,
        as_json=as_json,
    )


@main.group(
    invoke_without_command=True,
    short_help="List the newest alerts and whether they were delivered.",
    help="List the newest alerts and whether they were delivered.",
    epilog="Example: sf-assets alerts --limit 5; sf-assets alerts test",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of alerts to list.",
)
@json_option
@click.pass_context
@report_errors
def alerts(context: click.Context, limit: int, as_json: bool) -> None:
    if context.invoked_subcommand is not None:
        return
    from sf_assets.cli.alerts import run_list
    from sf_assets.settings import load_settings

    settings = load_settings()
    run_list(checked_home(settings), settings, limit, as_json)


@alerts.command(
    "test",
    short_help="Send a sample to every address and report the result.",
    help="Send a sample, marked as a test, to every address in SF_ASSETS_ALERT_URLS and report "
    "the result. Exits with 1 if a delivery fails.",
    epilog="Example: SF_ASSETS_ALERT_URLS=discord://id/token sf-assets alerts test",
)
@quiet_option
@json_option
@report_errors
def alerts_test(quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.alerts import run_test
    from sf_assets.settings import load_settings

    settings = load_settings()
    sys.exit(FINE if run_test(checked_home(settings), settings, as_json, quiet) else SOME_FAILED)


@main.command(
    short_help="Print shell completion for bash, zsh or fish.",
    help="Print the script that completes commands, options and tracked handles in your shell.",
    epilog=_COMPLETION,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@report_errors
def completion(shell: str) -> None:
    from sf_assets.cli.completion import script

    click.echo(script(main, shell))


@main.command(
    short_help="Run only the simulator of the Social Fetch API.",
    help="Run only the simulator: a stand-in for the Social Fetch API on 127.0.0.1, with an "
    "invented world.",
    epilog="Example: sf-assets simulate --port 8899 --seed 7",
)
@click.option(
    "--port",
    default=8899,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on (on 127.0.0.1). 0 picks a free one.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the invented world.")
@click.option(
    "--preset",
    type=click.Choice(["demo", "small", "worst", "bench"]),
    default="demo",
    show_default=True,
    help="Which invented world to serve.",
)
@click.option("--handles", type=click.IntRange(min=1), help="Number of profiles (worst, bench).")
@click.option(
    "--accounts",
    type=click.IntRange(min=1),
    help="Number of followers of each profile (worst, bench).",
)
@click.option(
    "--page-size",
    default=20,
    show_default=True,
    type=click.IntRange(1, 200),
    help="Number of accounts per page.",
)
@click.option(
    "--latency-ms",
    default=0.0,
    show_default=True,
    help="Delay before each answer, in milliseconds.",
)
@click.option(
    "--balance", default=1_000_000, show_default=True, help="Credit balance at the start."
)
@click.option(
    "--fault-rate", default=0.0, show_default=True, help="Share of answers that fail, from 0 to 1."
)
@click.option(
    "--today", type=click.DateTime(["%Y-%m-%d"]), help="Pretend that today is this UTC day."
)
@click.option(
    "--from",
    "bundle",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Serve the pages of a bundle (from `sf-assets bundle`) instead of an invented world.",
)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    metavar="NAME",
    help="Change a behaviour that the API contract leaves open: pages-of-30, few-ids, no-order, "
    "and more. An unknown name lists them. May be repeated.",
)
@report_errors
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
    bundle: Path | None,
    answers: tuple[str, ...],
) -> None:
    from dataclasses import replace
    from datetime import datetime, timezone
    from typing import cast

    from sf_assets.errors import SettingsError
    from sf_assets.simulator import (
        ANSWERS,
        BundledApi,
        Options,
        Preset,
        answered,
        preset_world,
        run,
    )
    from sf_assets.text import first_line

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
        for answer in answers:
            if answer not in ANSWERS:
                known = "; ".join(f"{name}: {text}" for name, (text, _, _) in ANSWERS.items())
                raise ValueError(f"unknown --answer {answer!r}; choose from {known}")
            world = answered(world, answer)
            options = replace(options, **ANSWERS[answer][2])
        run(world, options, port=port, app=BundledApi(bundle, options) if bundle else None)
    except (ValueError, OSError) as error:
        raise SettingsError(f"simulate: {first_line(error)}") from None
