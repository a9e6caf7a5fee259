"""One run over partitions of the grid, for `follower_snapshots` and `following_snapshots`.

This module acts: it reads, loads, logs and reports. `ingest` and `credits` decide.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import dagster as dg
import duckdb
from pydantic import Field

from sf_assets.credits.budget import Budget
from sf_assets.defs.audience import Audience
from sf_assets.defs.partitions import grid_key, split_grid_key
from sf_assets.defs.snapshot_metadata import (
    damage_sentence,
    log_line,
    order_sentence,
    snapshot_event,
    spending_metadata,
)
from sf_assets.defs.sources import SOCIAL_FETCH_API
from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import shortened
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.privacy import door_of
from sf_assets.handles.settings import Registry
from sf_assets.ingest import days, preflight
from sf_assets.ingest.batches import read_in_batches
from sf_assets.ingest.client import client_of
from sf_assets.ingest.ledger_gaps import left_behind
from sf_assets.ingest.outcome import RunOutcome
from sf_assets.ingest.overlap import known_lists
from sf_assets.ingest.plan import Known, Plan, Rules, known_of, make_plan
from sf_assets.ingest.progress import report
from sf_assets.ingest.reader import Collected, ListToRead, RunContext
from sf_assets.ingest.retention import maintain_landing
from sf_assets.ingest.run_budget import Spending
from sf_assets.ingest.scheduler import collect
from sf_assets.model import ASSET_OF, Relation, SnapshotKey, is_handle
from sf_assets.storage.door import Door
from sf_assets.storage.landings import landing_of
from sf_assets.storage.records import Landed
from sf_assets.storage.sizes import note_size
from sf_assets.text import counted, first_line
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.ledger import load_ledger, paid_for, write_ledger
from sf_assets.warehouse.load import load
from sf_assets.warehouse.publish import PublishFailed, publish

# Run tags with what the run bought.
PAGES_TAG, CREDITS_TAG = "sf_assets/pages", "sf_assets/credits"
# How many days back the ledger looks for what killed runs paid.
LEDGER_DAYS = 30
RETRIES = 2
RETRY_SECONDS = 60.0
CAPPED = "the credit cap of the day was reached: raise SF_ASSETS_DAILY_CREDITS or daily_credits"


class SnapshotConfig(dg.Config):
    """The config of a run over snapshots."""

    refresh: bool = Field(
        default=False,
        description="Read finished lists again. This buys all their pages again.",
    )
    due_only: bool = Field(
        default=False,
        description="Skip lists that are not due on the day, by `weekdays` in handles.yaml.",
    )
    untracked: bool = Field(
        default=False,
        description="Also read handles that are not in handles.yaml, with the depth and "
        "daily_credits of its defaults. Without this they are refused.",
    )


class SnapshotRun:
    """One run over partitions of the grid. Use `materialize` once."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        config: SnapshotConfig,
        audience: Audience,
        asset_keys: Mapping[Relation, dg.AssetKey],
        *,
        report_ready: bool,
    ) -> None:
        self.context, self.config, self.audience = context, config, audience
        self.asset_keys, self.report_ready = asset_keys, report_ready
        self.settings, self.home = settings, home = audience.settings, audience.home
        # A run keeps its day when it continues past midnight.
        self.day = settings.day()
        batch = settings.landing_sync == "batch"
        self.landing = landing_of(home, batch=batch)
        self.registry, problem = registry_in_force(home.registry)
        self.door = Door(home)
        self._warn(problem)
        self.spending = Spending(settings, self.registry, self.landing, context.run_id)
        self.outcome = RunOutcome()
        self.known = Known()
        self.loaded_something = False
        # Of the loaded lists, as received.
        self.pages = self.page_bytes = 0

    def materialize(self) -> Iterator[dg.AssetMaterialization]:
        """Yield one event per finished partition. Raises Failure with the unfinished ones."""
        self._send_spooled()
        plan = self._plan()
        to_read = self._with_known(self._if_loadable(plan.read))
        costs = self.known.costs
        budget = self.spending.prepare(to_read, costs) if to_read else Budget(None)
        self._log_plan(plan, len(to_read))
        # A retry does not report again what the first attempt reported.
        if self.report_ready or self.context.retry_number == 0:
            for row in self._to_report(plan):
                yield snapshot_event(self.asset_keys[row.relation], row, None)
        try:
            yield from self._load(plan.load, plan)
            if to_read:
                for batch in read_in_batches(
                    partial(self._collect, to_read, budget), log=self.context.log.info
                ):
                    yield from self._take_in(batch, plan)
                # Remove leftovers of lists that ended; they would be read once more.
                with contextlib.suppress(OSError):
                    self.landing.tidy()
                self._keep_ledger()
        finally:
            with contextlib.suppress(OSError):
                self.landing.tidy()
            _tag_bought(self.context, budget)
            if self.loaded_something:
                self._publish()
        self._maintain_landing()
        self._report_new_fields()
        self._note("capped", dict.fromkeys(self.outcome.not_begun, CAPPED), plan)
        self._fail_if_unfinished(plan)
        self._send_heartbeat()

    def _to_report(self, plan: Plan) -> list[SnapshotRow]:
        """The finished lists that this run reports again.

        A run without other work reports only what was never reported, because an event takes
        kilobytes. A run that may fail reports all, because Dagster counts the others as failed.
        """
        if self.report_ready or not plan.ready or plan.lists > len(plan.ready):
            return plan.ready
        cells = {row: grid_key(row.snapshot_date, row.handle) for row in plan.ready}
        events, kind = self.context.instance.event_log_storage, dg.DagsterEventType
        reported = {
            relation: events.get_latest_storage_id_by_partition(
                key, kind.ASSET_MATERIALIZATION, set(cells.values())
            )
            for relation, key in self.asset_keys.items()
        }
        return [row for row, cell in cells.items() if cell not in reported[row.relation]]

    def _plan(self) -> Plan:
        keys, not_handles = _lists(
            self.context.partition_keys,
            list(self.asset_keys),
            self.registry,
            due_only=self.config.due_only,
        )
        self.known = self._known(keys)
        rules = Rules(
            today=self.settings.day(),
            refresh=self.config.refresh,
            untracked=self.config.untracked,
            registry=self.registry,
            known=self.known,
        )
        plan = make_plan(keys, self.landing, rules)
        plan.refused |= not_handles
        self.outcome.unfinished |= plan.refused
        return plan

    def _known(self, keys: Sequence[SnapshotKey]) -> Known:
        for again in (False, True):
            try:
                with reading(self.home.readable) as con:
                    return known_of(con, keys, self.settings.day())
            except (FileNotFoundError, duckdb.Error) as error:
                if again or not (self.home.lake or self.home.warehouse.exists()):
                    break
                # The published copy is missing, damaged or of an older version. Opening the
                # warehouse upgrades it; then publish again.
                self.context.log.warning(
                    f"{self.home.readable} cannot be read ({first_line(error)}); publishing it "
                    "again."
                )
                with contextlib.suppress(SfAssetsError, duckdb.Error, OSError):
                    with self.audience.writing():
                        pass
                    self._publish()
        return Known()  # the landing shows what was bought

    def _if_loadable(self, lists: list[ListToRead]) -> list[ListToRead]:
        """The lists to read; empty if their pages could not be loaded."""
        if not lists:
            return lists
        try:
            preflight.look(self.home, self.spending.pages(lists, self.known.costs))
            self.door = door_of(self.home, self.registry)
        except SfAssetsError as error:
            reason = f"nothing was bought: {error}"
            self.outcome.unfinished |= {wanted.key: reason for wanted in lists}
            return []
        return lists

    def _with_known(self, lists: list[ListToRead]) -> list[ListToRead]:
        """Add the known accounts to the lists that are not read completely."""
        recent = [wanted.key for wanted in lists if not wanted.whole]
        if not recent:
            return lists
        try:
            with reading(self.home.readable) as con:
                known = known_lists(con, recent)
        except (FileNotFoundError, duckdb.Error) as error:
            self.context.log.warning(f"Reading all lists completely: no earlier list ({error}).")
            return lists
        return [
            replace(wanted, known=known.get(wanted.key), whole=wanted.key not in known)
            for wanted in lists
        ]

    def _log_plan(self, plan: Plan, to_read: int) -> None:
        self.context.log.info(
            f"{counted(plan.lists, 'list')}: {to_read} to read, {len(plan.load)} landed and to "
            f"load, {len(plan.ready)} already finished, {len(plan.refused)} refused."
            + (f" Spend: {self.spending.plan}." if to_read else "")
            + order_sentence(plan.disordered)
        )

    def _take_in(self, batch: Sequence[Collected], plan: Plan) -> Iterator[dg.AssetMaterialization]:
        for ended in batch:
            self.outcome.add(ended)
        # One message per batch: each takes tens of milliseconds in Dagster's event log.
        self._warn(self.outcome.unfinished_of(ended.key for ended in batch))
        landings = [ended.landed for ended in batch if ended.landed]
        yield from self._load(landings, plan, {ended.key: ended.bought for ended in batch})

    async def _collect(
        self, lists: Sequence[ListToRead], budget: Budget
    ) -> AsyncIterator[Collected]:
        async with client_of(self.settings) as client:
            run = RunContext(
                client,
                self.landing,
                budget,
                self.context.run_id,
                self.door,
                refresh=self._intent(),
                progress=report,
                today=self.settings.day,
            )
            async for ended in collect(lists, run, concurrency=self.settings.concurrency):
                yield ended

    def _intent(self) -> str | None:
        """The name of a refresh, by which a retry of the run continues it."""
        if not self.config.refresh:
            return None
        return self.context.run.root_run_id or self.context.run_id

    def _load(
        self,
        landings: Sequence[Landed],
        plan: Plan,
        bought: Mapping[SnapshotKey, int] | None = None,
    ) -> Iterator[dg.AssetMaterialization]:
        """Load landed lists; `bought` is the number of pages of each list that this run bought."""
        if not landings:
            return
        by_key = {landed.key: landed for landed in landings}
        try:
            rows, failures = load(self.audience.writing, self.home.archive, landings, self.landing)
        except Exception as error:
            # Continue with the other lists. The next attempt loads what is landed.
            self._warn(self.outcome.add_not_loaded(by_key, error))
            return
        self.loaded_something |= bool(rows)
        self.pages += sum(row.pages for row in rows)
        self.page_bytes += sum(by_key[row.key].sound_bytes for row in rows)
        self.outcome.add_loaded(by_key, rows, failures)
        self._log_loaded(rows, bought or {})
        for row in rows:
            key, order_agreement = self.asset_keys[row.relation], plan.disordered.get(row.key)
            yield snapshot_event(key, row, by_key[row.key], order_agreement)

    def _log_loaded(self, rows: Sequence[SnapshotRow], bought: Mapping[SnapshotKey, int]) -> None:
        # One message per batch, as above.
        if rows:
            lines = [log_line(row, bought.get(row.key, 0)) for row in rows]
            self.context.log.info("\n".join(lines))
        self._warn(damage_sentence(rows))

    def _keep_ledger(self) -> None:
        """Record the cost of unfinished lists and the balances before and after the run.

        A failure here does not fail the run. The next run loads what is in the archive.
        """
        day, archive = self.settings.day(), self.home.archive
        since = day - timedelta(days=LEDGER_DAYS)
        try:
            balances = self.spending.finish()
            self._warn(self.outcome.capped())
            if balances is not None:
                metadata = spending_metadata(self.spending, balances, len(self.outcome.not_begun))
                key = self.audience.key(SOCIAL_FETCH_API)
                self._observe(key, self.spending.plan, metadata)
            left = left_behind(self.home, self.landing, since, day) | self.outcome.attempts
            paid = [row for key, attempts in left.items() for row in paid_for(key, attempts)]
            if paid or balances:
                write_ledger(archive, day, paid, balances)
            if not self.outcome.busy:
                load_ledger(self.audience.writing, archive, since)
                self.loaded_something = True
        except Exception as error:
            self._warn(f"The ledger of this run is not loaded: {first_line(error)}")

    def _publish(self) -> None:
        try:
            publish(self.home, self.audience.wait_seconds)
        except PublishFailed as error:
            self._warn(str(error))

    def _send_spooled(self) -> None:
        try:
            # Since they were read somebody may have been forgotten.
            sent = self.landing.send_spooled(self.door.pages if self.door.closed else None)
        except (OSError, SfAssetsError) as error:
            self._warn(f"Pages of an earlier run stay on this machine: {first_line(error)}")
        else:
            if sent:
                self.context.log.info(
                    f"Landed pages of an earlier run for {counted(sent, 'list')}."
                )

    def _maintain_landing(self) -> None:
        days, connect = self.registry.retention.raw_days, self.audience.writing
        try:
            dropped, _ = maintain_landing(
                self.home, self.landing, self.settings.day(), days, connect
            )
            note_size(self.home, self.day, self.pages, self.page_bytes)
        except Exception as error:
            self._warn(f"Raw pages of archived lists are not compressed: {first_line(error)}")
        else:
            if dropped:
                self.context.log.info(f"Removed the raw pages of {dropped} archived snapshots.")

    def _report_new_fields(self) -> None:
        """Report fields that are not in the contract, once per run. The landing keeps them."""
        for relation, counts in self.outcome.strange_fields().items():
            self._warn(f"{ASSET_OF[relation]}: the API sends new fields: {counts}")
            description = "Social Fetch sends fields that are not in its contract."
            self._observe(self.asset_keys[relation], description, {"new_fields": counts})

    def _fail_if_unfinished(self, plan: Plan) -> None:
        outcome = self.outcome
        failure = outcome.failure(plan.lists, self.known.before)
        if failure is None:
            return
        if outcome.worth_another_try and _retries_here(self.context):
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=shortened(RETRY_SECONDS))
        reasons = {**dict.fromkeys(outcome.pages_missing), **outcome.unfinished}
        self._note("failed", reasons, plan)
        raise dg.Failure(failure.sentence, metadata=failure.metadata, allow_retries=False)

    def _note(
        self, kind: days.Trouble, reasons: Mapping[SnapshotKey, str | None], plan: Plan
    ) -> None:
        """Note the due lists of the day that this run leaves unfinished, with the reasons."""
        asked = {wanted.key for wanted in plan.read}
        due = {
            key: reason
            for key, reason in reasons.items()
            if (key.day == self.day or key in asked)
            and self.registry.due(key.handle, key.relation, key.day)
        }
        try:
            days.note(self.home, kind, self.context.run_id, due, self.registry)
        except OSError as error:
            self._warn(f"Cannot write {self.home.days}: {error}")

    def _send_heartbeat(self) -> None:
        try:
            problem = days.tell_heartbeat(self.home, self.settings, self.registry, self.day)
            if problem:
                self._warn(f"The call to SF_ASSETS_HEARTBEAT_URL failed ({problem}).")
        except (SfAssetsError, duckdb.Error, OSError) as error:
            self._warn(f"The heartbeat was not sent: {error}")

    def _observe(self, key: dg.AssetKey, description: str, metadata: Mapping[str, Any]) -> None:
        event = dg.AssetObservation(key, description=description, metadata=metadata)
        self.context.log_event(event)

    def _warn(self, sentence: str | None) -> None:
        if sentence:
            self.context.log.warning(sentence)


def _tag_bought(context: dg.AssetExecutionContext, budget: Budget) -> None:
    """Tag the run with its own purchases; other runs may buy at the same time."""
    bought = {PAGES_TAG: budget.pages_bought, CREDITS_TAG: budget.credits_bought}
    instance, run = context.instance, context.run
    if context.retry_number:
        before = instance.get_run_by_id(run.run_id) or run
        bought = {tag: n + int(before.tags.get(tag, 0)) for tag, n in bought.items()}
    # A retried run starts with the tags of its parent.
    if any(bought.values()) or PAGES_TAG in run.tags:
        instance.add_run_tags(run.run_id, {tag: str(n) for tag, n in bought.items()})


def _retries_here(context: dg.AssetExecutionContext) -> bool:
    # The command line reports a failure at once; other runs retry after a minute.
    return (
        context.retry_number < RETRIES
        and context.run.tags.get("sf_assets/launched_by") != "command line"
    )


def _lists(
    partition_keys: Sequence[str],
    relations: Sequence[Relation],
    registry: Registry,
    *,
    due_only: bool,
) -> tuple[list[SnapshotKey], dict[SnapshotKey, str]]:
    """The lists of these partitions, and the reasons for partitions that are no handles.

    Anybody can add a partition in the UI, and it must not become a path or a request unchecked.
    """
    keys: list[SnapshotKey] = []
    refused: dict[SnapshotKey, str] = {}
    for partition_key in partition_keys:
        day, handle = split_grid_key(partition_key)
        if is_handle(handle):
            keys += registry.lists_of([handle], relations, day, due_only=due_only)
            continue
        label = ascii(handle)[1:-1][:60]
        refused |= {
            SnapshotKey(day, label, relation): f"the partition '{label}' is not a handle as in "
            "handles.yaml (only a-z, 0-9, _ and .), so nothing was requested. Delete it in the "
            "Dagster UI and track the handle with `sf-assets track`"
            for relation in relations
        }
    return keys, refused
