"""`sf-assets account`: everything stored about one account, across all tracked lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import duckdb

from sf_assets.cli.common import not_published, registry_of
from sf_assets.cli.tables import harmless, print_json, print_table
from sf_assets.errors import SettingsError, SfAssetsError
from sf_assets.handles.settings import RegistryError, normalise_handle
from sf_assets.storage.files import write_atomically
from sf_assets.storage.home import Home
from sf_assets.text import counted, named
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.statements import sql

_COLUMNS = ("handle", "list", "began", "how it began", "ended", "how it ended", "last seen")


def run_account(home: Home, word: str, *, as_json: bool) -> None:
    """Print profile, renames and every stay of each account that matches `word`.

    Raises SettingsError if nothing is published or no list ever showed such an account.
    """
    try:
        with reading(home.readable) as con:
            accounts = [_account(con, account_id) for account_id, _ in _matches(con, word)]
    except FileNotFoundError:
        raise not_published(home) from None
    if not accounts:
        raise _unknown(home, word)
    if as_json:
        print_json(accounts)
        return
    for number, account in enumerate(accounts):
        click.echo(("\n" if number else "") + harmless(_head(account)))
        print_table(_COLUMNS, [_row(stay) for stay in account["history"]])


def export_account(home: Home, word: str, file: str) -> None:
    """Write everything stored about one person as JSON to a file, or to standard output for `-`.

    Raises SettingsError if the word matches several accounts or none; SfAssetsError, after writing
    the file, if parts of the home cannot be read.
    """
    from sf_assets.people.export import everything_about, person_named, person_of

    try:
        with reading(home.readable) as con:
            ids = [account_id for account_id, _ in _matches(con, word)]
            if len(ids) > 1:
                raise SettingsError(
                    f"{word} matches {len(ids)} accounts; an export is about one person. Give one "
                    f"of {', '.join(ids)}"
                )
            # A person that no table has may still be in landing or archive.
            person = person_of(con, ids[0]) if ids else person_named(word, _handle(word))
            stored = everything_about(con, home, person)
    except FileNotFoundError:
        raise not_published(home) from None
    if not (ids or stored["archive"] or stored["landing"] or stored["unreadable"]):
        raise _unknown(home, word)
    text = json.dumps(stored, indent=1, ensure_ascii=False, default=str) + "\n"
    if file == "-":
        click.echo(text, nl=False)
    else:
        write_atomically(Path(file), text)
        click.echo(f"written to {file}", err=True)
    if stored["unreadable"]:
        raise SfAssetsError(
            "the export is incomplete: cannot read " + named(stored["unreadable"], 5)
        )


def _matches(con: duckdb.DuckDBPyConnection, word: str) -> list[Any]:
    return con.execute(sql("account_ids"), {"word": word, "handle": _handle(word)}).fetchall()


def _handle(word: str) -> str:
    try:
        return normalise_handle(word)
    except RegistryError:
        return ""


def _unknown(home: Home, word: str) -> SettingsError:
    if (handle := _handle(word)) in registry_of(home).handles:
        return SettingsError(
            f"@{handle} is tracked, but no stored list shows it as a follower or as followed; for "
            f"its own lists: sf-assets handles, or sf-assets report --handle {handle}"
        )
    return SettingsError(
        f"no stored list shows {word or 'an account without a name'}; check the spelling, or give "
        "a profile URL, a numeric id or a secUid"
    )


def _account(con: duckdb.DuckDBPyConnection, account_id: str) -> dict[str, Any]:
    profile, *_ = [*_rows(con, "accounts", account_id), {"account_id": account_id}]
    return {
        **profile,
        "renames": _rows(con, "account_renames", account_id, "seen_on, handle, relation"),
        "history": _rows(con, "account_history", account_id, "first_seen, handle, relation"),
    }


def _rows(
    con: duckdb.DuckDBPyConnection, view: str, account_id: str, order: str = "ALL"
) -> list[dict[str, Any]]:
    rows = con.execute(f"FROM main.{view} WHERE account_id = ? ORDER BY {order}", [account_id])
    names = [column[0] for column in rows.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def _head(account: dict[str, Any]) -> str:
    """The current profile and the renames."""
    handle = account.get("account_handle") or account["history"][-1]["account_handle"]
    parts = [account.get("display_name"), f"id {account['account_id']}"]
    for name in ("followers", "following", "posts"):
        if account.get(name) is not None:
            parts.append(f"{account[name]:,} {name}")
    parts += [name for name in ("verified", "private_account", "region") if account.get(name)]
    lines = [f"@{handle}: " + ", ".join(str(part).replace("_", " ") for part in parts if part)]
    if account.get("bio"):
        lines.append(" ".join(str(account["bio"]).split()))
    renames = {(row["from_handle"], row["to_handle"]): row["seen_on"] for row in account["renames"]}
    lines += [f"renamed from @{old} to @{new}, seen {day}" for (old, new), day in renames.items()]
    stays = counted(len(account["history"]), "stay")
    lists = len({(stay["handle"], stay["relation"]) for stay in account["history"]})
    lines.append(f"{stays} in {counted(lists, 'tracked list')}:")
    return "\n".join(lines)


def _row(stay: dict[str, Any]) -> list[Any]:
    began, ended = stay["began_before"], stay["ended_before"]
    if stay["began_after"] is not None:
        began = f"{stay['began_after']} to {began}"
    else:
        began = f"by {began}"
    if ended is not None:
        ended = f"{stay['ended_after']} to {ended}"
    how = stay["end_kind"]
    if stay["end_state"] is not None:
        how = f"lost, {stay['end_state']} ({stay['end_evidence']})"
    start = stay["start_kind"]
    if stay["start_evidence"]:
        start += f" ({stay['start_evidence']})"
    listed = "still listed" if stay["still_listed"] else stay["last_seen"]
    return [stay["handle"], stay["relation"], began, start, ended, how, listed]
