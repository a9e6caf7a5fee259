"""`sf-assets bundle`: a zip for a bug report, without people and secrets."""

from __future__ import annotations

import json
import platform
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import duckdb
from pydantic import BaseModel

from sf_assets import __version__
from sf_assets.cli.common import CheckList
from sf_assets.cli.doctor import run_checks
from sf_assets.cli.runner import dagster_instance
from sf_assets.errors import SettingsError, SfAssetsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.ingest.probe import kept
from sf_assets.model import SnapshotKey
from sf_assets.people.anonymise import Anonymiser
from sf_assets.settings import Settings
from sf_assets.social_fetch import FollowersResponse, FollowingResponse
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_at
from sf_assets.storage.records import Landed, Records, record_line
from sf_assets.text import counted
from sf_assets.warehouse.connection import reading

BUNDLE_FORMAT = 1
RUNS, LINES = 20, 500
_PARTS = ("sf_assets", "dagster", "duckdb", "httpx", "aiohttp", "pydantic", "pyarrow")


class BundleLeaks(SfAssetsError):
    """The bundle would contain text of a list. Nothing was written."""


def run_bundle(
    settings: Settings, home: Home, handle: str | None, day: date | None, output: Path
) -> None:
    """Write the bundle: settings, checks, runs, and the anonymised pages of a day.

    `handle` and `day` of None mean all handles and the newest day with pages. Raises SettingsError
    if there is no page of the handle, BundleLeaks if original text is left.
    """
    landing = landing_at(home.landing, home.root)
    day = day or max(landing.days(), default=settings.day())
    keys = [key for key in landing.keys(day) if handle in (None, key.handle)]
    if handle is not None and not keys:
        raise SettingsError(
            f"bundle: no pages of @{handle} on {day}; pages are kept for `raw_days` days"
        )
    people = Anonymiser()
    for tracked in _own_handles(home):
        people.learn_handle(tracked)
    lists: list[tuple[SnapshotKey, list[tuple[dict[str, Any], Any]]]] = []
    for key in keys:
        landed = landing.read_or_why(key)
        if isinstance(landed, Landed):
            people.learn_handle(key.handle)
            with tempfile.TemporaryDirectory() as scratch:
                lists.append((key, list(_records(landed, Path(scratch)))))
            for _, body in lists[-1][1]:
                people.learn(body)
            people.keep(word for head, _ in lists[-1][1] for word in _ours(head))
    for model in (FollowersResponse, FollowingResponse):
        people.keep(re.findall(r'"(\w+)"', json.dumps(model.model_json_schema())))
    members = dict(_words(settings, home, people, day))
    for key, records in lists:
        members |= [_pages(people, key, records)]
    for name, text in members.items():
        left = people.left_in(text)
        if left is not None:
            raise BundleLeaks(f"bundle: {name} would contain text of a list; nothing was written")
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    click.echo(
        f"{output}: {counted(len(lists), 'list')} of {day}, anonymised; no original text is left. "
        "Look at the content before you share it"
    )


def _own_handles(home: Home) -> set[str]:
    """The handles that are or were tracked or probed."""
    handles = {*registry_in_force(home.registry, keep=False)[0].handles}
    with suppress(FileNotFoundError, duckdb.Error), reading(home.readable) as con:
        rows = con.execute("SELECT DISTINCT handle FROM internal.snapshots").fetchall()
        handles |= {handle for (handle,) in rows}
    facts = kept(home)
    return handles | ({str(facts.get("handle", ""))} - {""} if facts else set())


def _records(landed: Landed, folder: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Head and page of each record; the page is None if it is not JSON and cannot be cleaned."""
    path = landed.on_disk(folder)
    with path.open("rb") as file:
        for head, body in Records(landed.path, file):
            try:
                yield head, json.loads(body, strict=False) if body else None
            except ValueError:
                yield {**head, "left_out": True}, None


def _ours(head: dict[str, Any]) -> Iterator[str]:
    """The words of a head that are not about people."""
    for name, value in head.items():
        yield name
        yield from value if isinstance(value, dict) else ()
        if name in ("kind", "relation", "end") and isinstance(value, str):
            yield value


def _pages(
    people: Anonymiser, key: SnapshotKey, records: list[tuple[dict[str, Any], Any]]
) -> tuple[str, str]:
    handle = people.name(key.handle)
    lines = []
    for head, body in records:
        head = {name: value for name, value in head.items() if name not in ("crc", "run_id")}
        if "handle" in head:
            head["handle"] = handle
        if head.get("cursor") is not None:
            head["cursor"] = people.cursor(head["cursor"])
        if "request_id" in head:
            head["request_id"] = ""
        text = None if body is None else json.dumps(people.page(body), ensure_ascii=False)
        lines.append(record_line(head, None if text is None else text.encode(errors="replace")))
    name = f"landing/{key.day}/{key.relation}/{handle}.jsonl"
    return name, b"".join(lines).decode()


def _words(
    settings: Settings, home: Home, people: Anonymiser, day: date
) -> Iterator[tuple[str, str]]:
    """(file name, text) of everything but pages. Leaves out values that contain text of a list."""
    checks = CheckList(quiet=True, as_json=True)
    run_checks(checks.add)
    documents: dict[str, Any] = {
        "about.json": {
            "format": BUNDLE_FORMAT,
            "sf_assets": __version__,
            "day": str(day),
            "python": sys.version,
            "platform": platform.platform(),
            "parts": {name: version(name) for name in _PARTS},
        },
        "settings.json": _settings(settings),
        # The line `key` names the owner of the key.
        "doctor.json": [result for result in checks.results if result["check"] != "key"],
        "runs.json": list(_runs(home, day)),
        "measures.json": _measures(home),
        "vendor_facts.json": kept(home),
    }
    for name, value in documents.items():
        plain = json.loads(json.dumps(value, default=str))
        people.keep(re.findall(r'"(\w+)":', json.dumps(plain, indent=1)))
        yield name, json.dumps(_clean(people, home, plain), indent=1, ensure_ascii=False)


def _clean(people: Anonymiser, home: Home, value: Any) -> Any:
    """The value without names; done before JSON escapes line ends as letters."""
    if isinstance(value, dict):
        return {name: _clean(people, home, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_clean(people, home, inner) for inner in value]
    if isinstance(value, float):
        return round(value, 3)  # the digits of 0.30000000000000004 may equal somebody's id
    if not isinstance(value, str):
        return value
    text = people.text(value.replace(str(home.root), "HOME").replace(str(Path.home()), "~"))
    return text if people.left_in(text) is None else "(left out: text of a list)"


def _settings(settings: Settings) -> dict[str, Any]:
    """The settings; for those that may hold a secret or a name, only whether they are set."""
    plain = (bool, int, float, date, type(None))
    named = {"alerts", "cron", "weekly"}

    def shown(name: str, value: Any) -> Any:
        return value if isinstance(value, plain) or name in named else "set" if value else "not set"

    fields: dict[str, Any] = {name: getattr(settings, name) for name in type(settings).model_fields}
    assert isinstance(settings, BaseModel)
    return {name: shown(name, value) for name, value in fields.items()}


def _runs(home: Home, day: date) -> Iterator[dict[str, Any]]:
    """The newest runs of the day, with their logs."""
    if not home.dagster.exists():
        return
    from dagster import RunsFilter

    from sf_assets.defs.runs import DAY_TAG

    with dagster_instance(home) as instance:
        wanted = RunsFilter(tags={DAY_TAG: day.isoformat()})
        for record in instance.get_run_records(wanted, limit=RUNS):
            run = record.dagster_run
            logs = instance.all_logs(run.run_id)
            yield {
                "job": run.job_name,
                "status": run.status.value,
                "started": record.start_time,
                "ended": record.end_time,
                "lines": [
                    f"{log.timestamp:.3f} {log.user_message or log.message}"
                    for log in logs[-LINES:]
                ],
            }


def _measures(home: Home) -> list[dict[str, Any]]:
    try:
        with reading(home.readable) as con:
            rows = con.execute("FROM main.api_days ORDER BY snapshot_date DESC LIMIT 60")
            names = [name for name, *_ in rows.description]
            return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
    except (FileNotFoundError, duckdb.Error):
        return []
