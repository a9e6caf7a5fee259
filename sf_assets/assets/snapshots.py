"""`follower_snapshots` and `following_snapshots`: one relation of one handle on one UTC day.

One run reads all lists of its partitions at once, loads them in batches while others are still
being read, and materializes each handle by itself: a handle that fails does not fail the others.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any

import dagster as dg
from pydantic import Field, SecretStr

from sf_assets.collect import Budget, Collected, ListToRead, collect, spent_on
from sf_assets.home import Home
from sf_assets.landing import (
    Landed,
    Landing,
    LandingDamaged,
    SnapshotKey,
    drop_days_before,
)
from sf_assets.partitions import grid_partitions, split_grid_key
from sf_assets.progress import report
from sf_assets.registry import Registry, read_registry
from sf_assets.resources import Warehouse
from sf_assets.settings import RELATIONS, Relation, Settings, load_settings
from sf_assets.social_fetch import SocialFetchClient
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.load import LoadFailure, load, loaded_rows, statuses_before
from sf_assets.warehouse.publish import PublishFailed, publish

ASSET_OF: dict[Relation, str] = {
    "followers": "follower_snapshots",
    "following": "following_snapshots",
}

# How long raw pages stay after their day is archived.
LANDING_DAYS = 30
# A list begun yesterday may be read to its end after midnight; days later it would be a mixture.
RESUME_HOURS = 6
# Finished lists are loaded when so many pages wait, or when so many seconds have passed.
LOAD_PAGES = 2_000
LOAD_SECONDS = 15.0
RETRIES = 2
RETRY_SECONDS = 60


class SnapshotConfig(dg.Config):
    """What a run may be told in its config."""

    refresh: bool = Field(
        default=False,
        description="Walk finished lists again; this buys all their pages again.",
    )


@dataclass
class _Plan:
    """What is to be done for the partitions of a run."""

    read: list[ListToRead] = field(default_factory=list)
    load: list[Landed] = field(default_factory=list)
    ready: list[SnapshotRow] = field(default_factory=list)
    refused: dict[SnapshotKey, str] = field(default_factory=dict)


def build_snapshots(start: date) -> dg.AssetsDefinition:
    """Both snapshot assets on the grid that begins at `start`."""
    grid = grid_partitions(start)

    @dg.multi_asset(
        name="snapshots",
        specs=[
            dg.AssetSpec(
                ASSET_OF[relation],
                description=_DESCRIPTION[relation],
                group_name="snapshots",
                kinds={"tiktok", "duckdb", "python"},
                skippable=True,
            )
            for relation in RELATIONS
        ],
        partitions_def=grid,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=250),
    )
    def snapshots(
        context: dg.AssetExecutionContext, config: SnapshotConfig, warehouse: Warehouse
    ) -> Iterator[dg.AssetMaterialization]:
        settings = load_settings()
        home = Home(settings.home).ensure(settings)
        relations = [
            relation
            for relation in RELATIONS
            if dg.AssetKey(ASSET_OF[relation]) in context.selected_asset_keys
        ]
        yield from _Run(context, config, warehouse, settings, home, relations).materialize()

    return snapshots


_DESCRIPTION: dict[Relation, str] = {
    "followers": (
        "The follower list of one tracked handle on one UTC day, read from Social Fetch page by "
        "page (a credit a page) and loaded into DuckDB.\n\n"
        "```sql\nSELECT handle, snapshot_date, listed, reported_total, completeness\n"
        "FROM follower_snapshots ORDER BY snapshot_date DESC\n```"
    ),
    "following": (
        "Whom one tracked handle follows on one UTC day, read from Social Fetch page by page "
        "(a credit a page) and loaded into DuckDB.\n\n"
        "```sql\nSELECT handle, snapshot_date, listed, reported_total, completeness\n"
        "FROM following_snapshots ORDER BY snapshot_date DESC\n```"
    ),
}


class _Run:
    """One run over partitions of the grid."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        config: SnapshotConfig,
        warehouse: Warehouse,
        settings: Settings,
        home: Home,
        relations: Sequence[Relation],
    ) -> None:
        self.context, self.config, self.warehouse = context, config, warehouse
        self.settings, self.home = settings, home
        self.landing = Landing(home.landing)
        self.registry = read_registry(home.registry)
        self.keys = _keys(context.partition_keys, relations, self.registry)
        self.unfinished: dict[SnapshotKey, str] = {}
        self.transient = False
        self.stopped: str | None = None
        self.credits_missing: list[str] = []
        self.loaded_something = False

    def materialize(self) -> Iterator[dg.AssetMaterialization]:
        """Yields one event a finished partition. Raises Failure naming those that are not."""
        plan = self._plan()
        self.unfinished.update(plan.refused)
        self._log_plan(plan)
        # What this run already reported before it was retried is not reported again.
        if self.context.retry_number == 0:
            for row in plan.ready:
                yield _event(row, None)
        try:
            yield from self._loaded(plan.load)
            if plan.read:
                yield from self._read_and_load(plan.read)
        finally:
            if self.loaded_something:
                self._publish()
        self._tidy()
        self._fail_if_unfinished()

    def _plan(self) -> _Plan:
        today = self.settings.day()
        known = self._known_rows()
        before = self._statuses_before()
        plan = _Plan()
        for key in self.keys:
            try:
                landed = self.landing.read(key)
            except LandingDamaged as error:
                plan.refused[key] = str(error)
                continue
            row = known.get(key)
            best = landed.to_load if landed else None
            settled = landed.settled if landed else row is not None
            may_ask, why_not = _may_ask(key, today, landed)
            if may_ask and (self.config.refresh or not settled):
                plan.read.append(self._list_to_read(key, before))
            elif landed and best and not _holds(row, best.number, best.pages):
                plan.load.append(landed)
            elif row is not None:
                plan.ready.append(row)
            else:
                plan.refused[key] = why_not
        return plan

    def _list_to_read(self, key: SnapshotKey, before: dict[tuple[str, str], str]) -> ListToRead:
        own = self.registry.settings_of(key.handle)
        return ListToRead(
            key,
            max_pages=own.max_pages,
            user_id=own.user_id,
            priority=own.priority,
            status_before=before.get((key.relation, key.handle)),
        )

    def _known_rows(self) -> dict[SnapshotKey, SnapshotRow]:
        try:
            with reading(self.home.published) as con:
                return {
                    SnapshotKey(row.snapshot_date, row.handle, _relation(row.relation)): row
                    for row in loaded_rows(con, self.keys)
                }
        except FileNotFoundError:
            return {}

    def _statuses_before(self) -> dict[tuple[str, str], str]:
        try:
            with reading(self.home.published) as con:
                return statuses_before(con, self.settings.day())
        except FileNotFoundError:
            return {}

    def _log_plan(self, plan: _Plan) -> None:
        self.context.log.info(
            f"{len(self.keys)} lists: {len(plan.read)} to read, {len(plan.load)} landed and to "
            f"load, {len(plan.ready)} finished already, {len(plan.refused)} refused"
        )

    def _read_and_load(self, lists: list[ListToRead]) -> Iterator[dg.AssetMaterialization]:
        # The lists are read in a thread of their own, so that writing Dagster's events here (tens
        # of milliseconds each) does not hold up the pages.
        key = self.settings.key() if self.settings.simulated else self.settings.require_key()
        results: queue.Queue[Collected | BaseException | None] = queue.Queue()
        reader = _ReaderThread(
            lambda: self._collect(lists, key or SecretStr("sfk_sim"), results), results
        )
        reader.start()
        waiting: list[Collected] = []
        due = time.monotonic() + LOAD_SECONDS
        reading_on = True
        try:
            while reading_on:
                with contextlib.suppress(queue.Empty):
                    item = results.get(timeout=max(0.1, due - time.monotonic()))
                    if isinstance(item, BaseException):
                        raise item
                    if item is None:
                        reading_on = False
                    else:
                        self._note(item)
                        waiting += [item] if item.finished else []
                pages = sum(one.bought for one in waiting)
                if not reading_on or pages >= LOAD_PAGES or time.monotonic() >= due:
                    yield from self._loaded([one.landed for one in waiting if one.landed], waiting)
                    waiting = []
                    due = time.monotonic() + LOAD_SECONDS
        finally:
            reader.stop()

    async def _collect(
        self,
        lists: list[ListToRead],
        key: SecretStr,
        results: queue.Queue[Collected | BaseException | None],
    ) -> None:
        settings = self.settings
        headers = {"X-Sim-Day": settings.today.isoformat()} if settings.today else None
        budget = Budget(
            settings.daily_credits,
            spent_on(self.landing, settings.day()) if settings.daily_credits is not None else 0,
        )
        async with SocialFetchClient(
            api_key=key,
            base_url=settings.base_url,
            concurrency=settings.concurrency,
            headers=headers,
        ) as client:
            async for ended in collect(
                lists,
                client=client,
                landing=self.landing,
                budget=budget,
                concurrency=settings.concurrency,
                run_id=self.context.run_id,
                refresh=self._intent(),
                progress=report,
            ):
                results.put(ended)

    def _intent(self) -> str | None:
        """Names a refresh, so that a retry of the run goes on with it instead of starting over."""
        if not self.config.refresh:
            return None
        return self.context.run.root_run_id or self.context.run_id

    def _note(self, ended: Collected) -> None:
        if ended.stopped is not None:
            self.stopped = ended.stopped
        if ended.stopped == "credits":
            self.credits_missing.append(str(ended.key))
        if not ended.finished:
            self.unfinished[ended.key] = ended.reason or "unfinished"
            self.transient |= not ended.permanent
            self.context.log.warning(f"{ended.key} is unfinished: {ended.reason}")

    def _loaded(
        self, landings: Sequence[Landed], collected: Sequence[Collected] = ()
    ) -> Iterator[dg.AssetMaterialization]:
        if not landings:
            return
        rows, failures = load(self.warehouse.get_connection, self.home.archive, landings)
        self.loaded_something |= bool(rows)
        for failure in failures:
            self._note_load_failure(failure)
        ended = {one.key: one for one in collected}
        by_key = {landed.key: landed for landed in landings}
        for row in rows:
            key = SnapshotKey(row.snapshot_date, row.handle, _relation(row.relation))
            bought = ended[key].bought if key in ended else 0
            self.context.log.info(
                f"{key}: {row.lookup_status}, {row.listed} listed"
                + (f" of {row.reported_total}" if row.reported_total is not None else "")
                + f", {row.completeness}"
                + (f" ({row.end_reason})" if row.end_reason else "")
                + f", {row.pages} pages, {bought} bought now"
            )
            yield _event(row, by_key[key])

    def _note_load_failure(self, failure: LoadFailure) -> None:
        self.unfinished[failure.key] = (
            f"{failure.key}: its landed pages cannot be loaded ({failure.reason}); they are "
            f"kept in {self.landing.path(failure.key)}"
        )

    def _publish(self) -> None:
        try:
            publish(self.home)
        except PublishFailed as error:
            self.context.log.warning(str(error))

    def _tidy(self) -> None:
        """Drop raw pages of days long archived."""
        oldest = self.settings.day() - timedelta(days=LANDING_DAYS)
        old = [key for day in self.landing.days() if day < oldest for key in self.landing.keys(day)]
        if not old:
            return
        with reading(self.home.published) as con:
            archived = {
                SnapshotKey(row.snapshot_date, row.handle, _relation(row.relation))
                for row in loaded_rows(con, old)
                if (self.home.archive / row.archive_file).exists()
            }
        removed = drop_days_before(self.landing, oldest, keep=set(old) - archived)
        self.context.log.info(f"removed the raw pages of {removed} archived snapshots")

    def _fail_if_unfinished(self) -> None:
        if not self.unfinished and self.stopped is None:
            return
        if self.transient and self.stopped is None and self._retries_here():
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=RETRY_SECONDS)
        handles = sorted({key.handle for key in self.unfinished})
        reasons = list(dict.fromkeys(self.unfinished.values()))
        if self.unfinished:
            said = (
                f"{len(self.unfinished)} of {len(self.keys)} lists did not finish "
                f"({', '.join(handles[:20])}{', …' if len(handles) > 20 else ''}); "
                "the others are stored. " + " | ".join(reasons[:5])
            )
        else:
            said = (
                f"credits ran out; {len(self.credits_missing)} lists are stored as far as they "
                "were read. Top up and run the day again: it goes on where it stopped"
            )
        raise dg.Failure(
            said,
            metadata={
                "unfinished": dg.MetadataValue.json([str(key) for key in sorted(self.unfinished)]),
                "reasons": dg.MetadataValue.json(reasons[:50]),
                "refused_by_vendor": dg.MetadataValue.text(self.stopped or ""),
            },
            allow_retries=False,
        )

    def _retries_here(self) -> bool:
        # Who waits at a terminal is told at once; a run on its own tries again in a minute.
        return (
            self.context.retry_number < RETRIES
            and self.context.run.tags.get("sf_assets/launched_by") != "command line"
        )


class _ReaderThread(threading.Thread):
    """Runs a coroutine in an event loop of its own; puts None at its end, or what it raised."""

    def __init__(
        self,
        start_collecting: Callable[[], Coroutine[Any, Any, None]],
        results: queue.Queue[Collected | BaseException | None],
    ) -> None:
        super().__init__(name="reading lists", daemon=True)
        self._start_collecting, self._results = start_collecting, results
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        try:
            self._task = self._loop.create_task(self._start_collecting())
            self._loop.run_until_complete(self._task)
            self._results.put(None)
        except BaseException as error:
            self._results.put(error)
        finally:
            self._loop.close()

    def stop(self) -> None:
        """Cancel what still runs (the run was terminated) and wait for it."""
        if self.is_alive() and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(timeout=30)


def _keys(
    partition_keys: Sequence[str], relations: Sequence[Relation], registry: Registry
) -> list[SnapshotKey]:
    keys = []
    for partition_key in partition_keys:
        day, handle = split_grid_key(partition_key)
        tracked = registry.settings_of(handle).relations
        keys += [SnapshotKey(day, handle, one) for one in relations if one in tracked]
    return keys


def _may_ask(key: SnapshotKey, today: date, landed: Landed | None) -> tuple[bool, str]:
    """Whether the API may be asked for this list now; if not, why not."""
    if key.day == today:
        return True, ""
    if key.day > today:
        return False, f"{key}: that day has not begun (UTC)"
    if landed is not None and landed.attempts and not landed.settled:
        modified = datetime.fromtimestamp(landed.path.stat().st_mtime, timezone.utc)
        if datetime.now(timezone.utc) - modified < timedelta(hours=RESUME_HOURS):
            return True, ""
        return False, (
            f"{key}: its reading broke off and the day is over; the pages that were landed are "
            f"kept in {landed.path}. The next snapshot is compared across the gap"
        )
    return False, (
        f"{key} cannot be fetched any more: the API knows only now, and today is {today} (UTC). "
        "Nothing was asked for. Gaps are normal: the next snapshot is compared across them"
    )


def _holds(row: SnapshotRow | None, attempt: int, pages: int) -> bool:
    return row is not None and (row.attempt, row.pages) >= (attempt, pages)


def _relation(text: str) -> Relation:
    return "followers" if text == "followers" else "following"


def _event(row: SnapshotRow, landed: Landed | None) -> dg.AssetMaterialization:
    attempt = landed.to_load if landed else None
    metadata: dict[str, dg.MetadataValue] = {
        "status": dg.MetadataValue.text(row.lookup_status),
        "completeness": dg.MetadataValue.text(row.completeness),
        "listed": dg.MetadataValue.int(row.listed),
        "pages": dg.MetadataValue.int(row.pages),
        "credits": dg.MetadataValue.int(row.credits_charged),
        "seconds": dg.MetadataValue.float(row.seconds),
        "profile": dg.MetadataValue.url(f"https://www.tiktok.com/@{row.handle}"),
    }
    if row.end_reason is not None:
        metadata["end_reason"] = dg.MetadataValue.text(row.end_reason)
    if row.reported_total is not None:
        metadata["total"] = dg.MetadataValue.int(row.reported_total)
    if attempt is not None:
        metadata["retries"] = dg.MetadataValue.int(attempt.retries)
        metadata["cached_pages"] = dg.MetadataValue.int(attempt.cached)
        metadata["first_request"] = dg.MetadataValue.text(attempt.request_ids[0])
        metadata["last_request"] = dg.MetadataValue.text(attempt.request_ids[-1])
    return dg.AssetMaterialization(
        ASSET_OF[_relation(row.relation)],
        partition=f"{row.snapshot_date.isoformat()}|{row.handle}",
        metadata=metadata,
    )
