"""`sf-assets forget`: removes a person from this home permanently."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from sf_assets.cli.common import checked_home, json_option, registry_of, report_errors
from sf_assets.cli.exit_codes import FINE, SOME_FAILED
from sf_assets.text import counted

if TYPE_CHECKING:
    from sf_assets.people.forget import Journal
    from sf_assets.people.forget_rows import Person
    from sf_assets.storage.home import Home


@click.command(
    short_help="Remove a person from this home, and keep them out.",
    help="Forget accounts: replace them with pseudonyms in stored data and in everything fetched "
    "later. Counts, churn and growth do not change. ACCOUNT is a handle, a profile URL, a "
    "numeric id or a secUid. Stop `sf-assets up` first. Rebuilds all tables and deletes old "
    "files of earlier rebuilds. If it is interrupted, run it again to continue; without ACCOUNT "
    "it only continues. At the end it searches every file of the home and lists what it cannot "
    "reach. Exits with 1 if it still finds something.",
    epilog="Example: sf-assets forget @somebody --reason 'mail of 3 May' --dry-run",
)
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]...")
@click.option(
    "--reason", default="", help="Reason to record in forgotten.jsonl. Do not write a name."
)
@click.option("--dry-run", is_flag=True, help="Only list where the accounts are stored.")
@click.option(
    "--everybody",
    is_flag=True,
    help="Forget all listed accounts; required once for `privacy: pseudonyms` in handles.yaml. "
    "Cannot be undone. Also deletes Dagster's runs and logs.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@report_errors
def forget(
    accounts: tuple[str, ...],
    reason: str,
    dry_run: bool,
    everybody: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from sf_assets.people import forget as people
    from sf_assets.people.errors import ForgetRefused
    from sf_assets.people.forget_files import JOURNAL
    from sf_assets.settings import load_settings

    settings = load_settings()
    home = checked_home(settings)
    if not home.marker.exists():
        raise ForgetRefused(f"{home} is not a home of sf_assets: nobody is stored there")
    if accounts and everybody:
        raise click.UsageError("use ACCOUNT or --everybody, not both")
    with people.alone(home):
        before = people.Journal.of(home)
        if everybody and not registry_of(home).pseudonyms:
            raise ForgetRefused("write `privacy: pseudonyms` into handles.yaml first")
        if before is not None and dry_run:
            raise ForgetRefused("finish the interrupted forget first: sf-assets forget")
        if before is not None:
            _say("continuing the interrupted forget")
            exit_code = _forget(home, before, as_json=as_json and not (accounts or everybody))
            if not accounts and not everybody:
                sys.exit(exit_code)
        if not accounts and not everybody:
            raise click.UsageError("give at least one ACCOUNT")
        persons = people.look(home, accounts, _say)
        if not as_json or not yes:
            for person in persons:
                click.echo(_shown(person), err=as_json)
        if dry_run:
            _show_places(home, persons, as_json=as_json)
            sys.exit(FINE)
        if not yes:
            who = "everybody" if everybody else counted(len(persons), "account")
            click.confirm(f"Forget {who} in {home}? This cannot be undone.", abort=True, err=True)
        journal = people.Journal(home.document(JOURNAL), persons, reason, everybody)
        sys.exit(_forget(home, journal, as_json=as_json))


def _forget(home: Home, journal: Journal, *, as_json: bool) -> int:
    from sf_assets.people.forget import forget, out_of_reach

    result = forget(home, journal, _say)
    if as_json:
        _print(home, journal.people, result)
    else:
        click.echo(
            f"forgotten: {counted(result.landed, 'landed list')} and "
            f"{counted(result.files, 'archive file')} changed, all tables rebuilt"
        )
        for hit in result.left:
            what = "mentioned by others" if hit.mention else "still found"
            click.echo(f"{what}: {hit.place} ({hit.times})", err=not hit.mention)
        if result.done:
            click.echo("searched every file of the home: found nothing of them")
        click.echo("out of reach:")
        for line in out_of_reach(home, journal.people):
            click.echo(f"  - {line}")
    return FINE if result.done else SOME_FAILED


def _show_places(home: Home, persons: list[Person], *, as_json: bool) -> None:
    """Print in which parts of the home these people are stored, and how often."""
    from sf_assets.people.forget_files import search

    places: Counter[str] = Counter()
    for hit in search(home, persons, _say):
        where = "mentioned by others" if hit.mention else hit.place.split(" ")[0].split("/")[0]
        places[where.rstrip(":")] += hit.times
    if as_json:
        _print(home, persons, None, places)
    else:
        click.echo(
            "found in "
            + (
                ", ".join(f"{where} ({counted(n, 'place')})" for where, n in sorted(places.items()))
                or "no file"
            )
        )


def _print(
    home: Home, people: list[Person], result: object, places: dict[str, int] | None = None
) -> None:
    from sf_assets.cli.tables import print_json
    from sf_assets.people.forget import Forgotten, out_of_reach

    document: dict[str, object] = {
        "accounts": [
            {**person.to_json(), "rows": dict(person.rows), "pages": dict(person.pages)}
            for person in people
        ],
        "out_of_reach": out_of_reach(home, people),
    }
    if places is not None:
        document["places"] = places
    if isinstance(result, Forgotten):
        document |= {
            "landed_lists": result.landed,
            "archive_files": result.files,
            "other_files": result.others,
            "left": [hit._asdict() for hit in result.left],
        }
    print_json(document)


def _shown(person: Person) -> str:
    lines = [str(person)]
    for what, where in (("archived", person.rows), ("landed", person.pages)):
        lines += [f"  {what}: {name}: {times:,}" for name, times in sorted(where.items())]
    return "\n".join(
        lines if len(lines) > 1 else [*lines, "  not stored; `forget` keeps new data free of it"]
    )


def _say(text: str) -> None:
    click.echo(f"forget: {text}", err=True)
