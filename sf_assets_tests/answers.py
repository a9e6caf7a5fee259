"""Days of a simulated API as measures alone, which is what drift is seen in: years in seconds."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone

import duckdb
import numpy as np
import pyarrow as pa

from sf_assets.alerts.kinds import AlertContext, Drift
from sf_assets.ingest.measures import measures_of
from sf_assets.ingest.reader import new_fields
from sf_assets.model import RELATIONS, Relation
from sf_assets.simulator import ProfileSpec, World
from sf_assets.social_fetch import Answer, ListWalk, parse_page
from sf_assets.storage.home import Home
from sf_assets.storage.records import Measures
from sf_assets.warehouse.alignment import longest_chain
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.load import record

MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass
class Api:
    """What the API of a day is like, beside its world."""

    page_size: int = 20
    troubles: Callable[[int], tuple[str, ...]] = lambda page: ()
    cached: Callable[[int], bool] = lambda page: False
    seconds: float = 0.5
    change: Callable[[dict[str, object]], None] = lambda data: None
    total_factor: float = 1.0


@dataclass
class Days:
    """Days of a world, recorded as snapshots without accounts; `found` are the alerts."""

    con: duckdb.DuckDBPyConnection
    home: Home
    lists: dict[tuple[str, Relation], list[str]] = field(default_factory=dict)
    rows: list[SnapshotRow] = field(default_factory=list)
    compared: list[tuple[object, ...]] = field(default_factory=list)

    def play(self, day: date, world: World, api: Api | None = None) -> None:
        for handle in world.handles:
            for relation in RELATIONS:
                row, keys = _walked(world, handle, relation, day, api or Api())
                self.rows.append(row)
                agreement = _agreement(self.lists.get((handle, relation), []), keys)
                if row.listed:
                    self.lists[handle, relation] = keys
                    self.compared.append((relation, handle, day, agreement))

    def found(self, first: date, today: date) -> list[Drift]:
        """The alerts of all days that were played since the last time it was asked."""
        record(self.con, self.rows)
        columns = zip(*self.compared, strict=True) if self.compared else [()] * 4
        names = ("relation", "handle", "snapshot_date", "order_agreement")
        compared = pa.table(dict(zip(names, map(list, columns), strict=True)))  # noqa: F841
        self.con.execute("INSERT INTO internal.comparisons BY NAME FROM compared")
        self.rows, self.compared = [], []
        return Drift.find(AlertContext(self.con, self.home, today, first, first))


def _agreement(before: list[str], keys: list[str]) -> float | None:
    places = {key: -at for at, key in enumerate(before)}
    common = np.array([places[key] for key in keys if key in places], dtype=np.float64)
    return int(longest_chain(common).sum()) / len(common) if len(common) else None


def _walked(
    world: World, handle: str, relation: Relation, day: date, api: Api
) -> tuple[SnapshotRow, list[str]]:
    walk = ListWalk(relation, handle)
    measures, keys, damaged, cached, retries = Measures(), [], 0, 0, 0
    while walk.has_next_page:
        answer = world.page(handle, relation, day, cursor=walk.last_cursor, page_size=api.page_size)
        data = json.loads(world.page_json(answer, relation, day))
        api.change(data)
        meta = {"requestId": "r", "creditsCharged": 1, "version": "v1"}
        body = json.dumps({"data": data, "meta": meta}).encode()
        response = parse_page(relation, body)
        number = zlib.crc32(f"{handle}{relation}{day}{walk.pages}".encode())
        troubles = api.troubles(number)
        told = Answer(response, body, MOMENT, 1, 0, troubles=troubles)
        strange = sum(new_fields(response).values())
        measures += replace(measures_of(told, walk), new_fields=strange)
        cached, retries = cached + api.cached(number), retries + len(troubles)
        keys += [one.platform_user_id or one.handle for one in response.data.accounts]
        walk.update(response)
    status = walk.lookup_status.value if walk.lookup_status else "found"
    more = {"cached": cached, "retries": retries}
    total = walk.reported_total
    row = SnapshotRow(
        relation, handle, day, status, walk.end_reason and walk.end_reason.value, "window",
        walk.listed, None if total is None else round(total * api.total_factor), walk.pages,
        walk.pages, _stamp(0), _stamp(api.seconds * walk.pages), "run", 1, "", damaged,
        measures=json.dumps({**measures.to_json(), **more}) if status == "found" else None,
    )  # fmt: skip
    return row, keys


def _stamp(seconds: float) -> str:
    return (MOMENT + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def profiles(specs: Iterable[ProfileSpec], first: date, days: int) -> World:
    return World(tuple(specs), epoch=first - timedelta(days=30), seed=7, horizon_days=days + 60)
