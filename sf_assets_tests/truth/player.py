"""Plays worlds through the product, a day at a time, and reads its tables after every day.

`played` is quick: pages are landed, loaded and derived in one process. `played_over_http` is the
whole way: a server on loopback, the snapshot run, the published file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from sf_assets.ingest.overlap import KnownRun, known_lists
from sf_assets.model import RELATIONS
from sf_assets.social_fetch import ListWalk, parse_page

from ..conftest import Pipeline
from ..lists import Lists, Told
from ..served_lists import KEY, ListServer
from .worlds import FIRST_MONDAY, ListDay, ListKey, World, date_of, day_of

TABLES = (
    "snapshots", "memberships", "follower_churn", "following_churn", "comparisons",
    "follower_growth", "weekly_retention", "mutuals", "lost_mutuals", "accounts",
    "audience_overlap",
)  # fmt: skip

Row = dict[str, Any]
Ask = Callable[[str], tuple[list[str], list[tuple[Any, ...]]]]
# Lists of the fast way count their days from the day before.
_TOLD_DAY = 2


@dataclass(frozen=True)
class Tables:
    """What people can read at the end of a day; dates are days of the world."""

    rows: Mapping[str, list[Row]]

    def __getitem__(self, table: str) -> list[Row]:
        return self.rows[table]

    def about(self, world: World) -> Tables:
        """Only what is told of the lists of a world, where a warehouse holds several."""
        mine = set(world.handles)
        return Tables(
            {
                table: [row for row in rows if table == "accounts" or row.get("handle") in mine]
                for table, rows in self.rows.items()
            }
        )

    def of(self, table: str, key: ListKey) -> list[Row]:
        """The rows of one list."""
        if table == "churn":
            table = "follower_churn" if key[1] == "followers" else "following_churn"
        return [
            row
            for row in self.rows[table]
            if row.get("handle") == key[0] and row.get("relation", key[1]) == key[1]
        ]


def read_tables(ask: Ask, tables: Iterable[str] = TABLES) -> Tables:
    made: dict[str, list[Row]] = {}
    for table in tables:
        columns, rows = ask(f"SELECT * FROM {table}")
        made[table] = [
            {
                name: day_of(value) if type(value) is date else value
                for name, value in zip(columns, row, strict=True)
            }
            for row in rows
        ]
    return Tables(made)


def _told(key: ListKey, day: ListDay) -> Told:
    handle, relation = key
    return Told(
        day.day + _TOLD_DAY,
        handle,
        day.entries,  # type: ignore[arg-type]  # an Entry says itself what it looks like
        status=day.status,
        total=day.total or 0,
        no_total=day.total is None,
        end=day.end,
        relation=relation,
        page_size=4 if day.depth == "recent" else 20,
    )


class Warehouse:
    """The fast way: one warehouse for one or many worlds whose handles and people differ."""

    def __init__(self, root: Path) -> None:
        self.lists = Lists(root)

    def close(self) -> None:
        self.lists.close()

    def told(self, key: ListKey, day: ListDay) -> Told:
        """The day as a walk reads it, which may stop at what is known."""
        whole = _told(key, day)
        if day.depth != "recent" or day.status != "found":
            return whole
        known = known_lists(self.lists.con, [whole.key]).get(whole.key)
        if known is None:
            return whole
        walk = ListWalk(whole.relation, whole.handle, known=KnownRun(known()))
        for body in whole.bodies():
            walk.update(parse_page(whole.relation, body))
            if not walk.has_next_page:
                break
        if walk.end_reason is None or walk.end_reason.value != "known":
            return whole
        read = whole.accounts[: walk.pages * whole.page_size]
        return replace(whole, accounts=read, end="known")

    def play_day(self, worlds: Iterable[World], day: int) -> None:
        shown = [
            (key, each)
            for world in worlds
            for key, days in world.lists.items()
            for each in days
            if each.day == day
        ]
        first = [(key, each.first) for key, each in shown if each.first is not None]
        if first:
            self.lists.tell(*(self.told(key, each) for key, each in first))
        self.lists.tell(*(self.told(key, each) for key, each in shown))

    def ask(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        cursor = self.lists.con.execute(sql)
        return [column[0] for column in cursor.description or ()], cursor.fetchall()

    def tables(self, tables: Iterable[str] = TABLES) -> Tables:
        return read_tables(self.ask, tables)


def played(
    root: Path, worlds: Sequence[World], tables: Iterable[str] = TABLES
) -> Iterator[tuple[int, Tables]]:
    """Every day of the worlds, and the tables at its end."""
    warehouse = Warehouse(root)
    try:
        for day in sorted({day for world in worlds for day in world.days}):
            warehouse.play_day(worlds, day)
            yield day, warehouse.tables(tables)
    finally:
        warehouse.close()


def played_over_http(root: Path, worlds: Sequence[World]) -> Iterator[tuple[int, Tables]]:
    """The same by way of HTTP, Dagster and the published file."""
    with ExitStack() as stack:
        server = stack.enter_context(ListServer())
        pipeline = Pipeline(root, server.url, KEY, FIRST_MONDAY)
        for world in worlds:
            for handle in world.handles:
                shown = [r for r in RELATIONS if (handle, r) in world.lists]
                pipeline.track(handle, relations=shown)
        for day in sorted({day for world in worlds for day in world.days}):
            asked: dict[str, list[str]] = {}
            for world in worlds:
                for (handle, relation), days in world.lists.items():
                    for each in days:
                        if each.day == day:
                            items = [entry.item(relation) for entry in each.entries]
                            server.set(
                                handle, relation, items, status=each.status, total=each.total
                            )
                            asked.setdefault(handle, []).append(relation)
            # One list's trouble is its own: a failed run is for the judge to see.
            pipeline.snapshot(date_of(day), *asked)
            yield day, read_tables(lambda sql: _published(pipeline, sql))


def _published(pipeline: Pipeline, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    names = [str(row[0]) for row in pipeline.ask(f"DESCRIBE {sql}")]
    return names, pipeline.ask(sql)
