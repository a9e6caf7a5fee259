"""`follower_snapshots` and `following_snapshots`: one relation of one handle on one UTC day.

One run reads all lists of its partitions at once, loads them in batches while others are still
being read, and materializes each handle by itself: a handle that fails does not fail the others.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import dagster as dg
import duckdb
from pydantic import Field, SecretStr

from sf_assets.credits.budget import Budget
from sf_assets.credits.estimate import Cost, costs_before
from sf_assets.defs.partitions import Grid, split_grid_key
from sf_assets.defs.resources import Warehouse
from sf_assets.defs.snapshot_metadata import log_line, order_sentence, snapshot_event
from sf_assets.defs.sources import HANDLE_REGISTRY, SOCIAL_FETCH_API
from sf_assets.defs.specs import table_spec
from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import shortened
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.ingest import days, preflight
from sf_assets.ingest.batches import read_in_batches
from sf_assets.ingest.overlap import known_lists
from sf_assets.ingest.plan import Plan, make_plan
from sf_assets.ingest.progress import report
from sf_assets.ingest.reader import Collected, ListToRead
from sf_assets.ingest.run_budget import Spending
from sf_assets.ingest.scheduler import collect
from sf_assets.model import ASSET_OF, RELATIONS, Relation, SnapshotKey, is_handle
from sf_assets.settings import Settings, load_settings
from sf_assets.social_fetch import SocialFetchClient
from sf_assets.storage.home import Home
from sf_assets.storage.landing import drop_days_before
from sf_assets.storage.landing_objects import landing_at
from sf_assets.storage.object_store import names_below
from sf_assets.storage.records import Attempt, Landed
from sf_assets.text import counted, first_line, one_line
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.connection import committed, reading
from sf_assets.warehouse.errors import WarehouseBusy
from sf_assets.warehouse.ledger import Balances, paid_for, record_new_files, write_ledger
from sf_assets.warehouse.load import (
    Before,
    LoadFailure,
    lists_before,
    load,
    loaded_rows,
)
from sf_assets.warehouse.publish import PublishFailed, publish

# How long raw pages stay after their day is archived.
LANDING_DAYS = 30
# What a run bought, in tags of the run.
PAGES_TAG, CREDITS_TAG = "sf_assets/pages", "sf_assets/credits"
RETRIES = 2
# Lists that are named in a message; the others are counted.
NAMED = 20
RETRY_SECONDS = 60.0


class SnapshotConfig(dg.Config):
    """What a run may be told in its config."""

    refresh: bool = Field(
        default=False,
        description="Walk finished lists again; this buys all their pages again.",
    )
    due_only: bool = Field(
        default=False,
        description="Leave out lists whose weekdays in handles.yaml do not name the day.",
    )
    untracked: bool = Field(
        default=False,
        description="Buy handles that handles.yaml does not name, with the depth and daily_credits "
        "of its defaults; without this they are refused.",
    )


def build_snapshots(grid: Grid) -> dg.AssetsDefinition:
    """Both snapshot assets on the grid."""

    @dg.multi_asset(
        name="snapshots",
        specs=[
            table_spec(
                ASSET_OF[relation],
                deps=[HANDLE_REGISTRY, SOCIAL_FETCH_API],
                description=_DESCRIPTION[relation],
                example=(
                    "SELECT handle, snapshot_date, listed, reported_total, completeness\n"
                    f"FROM {ASSET_OF[relation]} ORDER BY snapshot_date DESC"
                ),
                group="snapshots",
                kinds={"tiktok", "duckdb", "python"},
                code=["defs/snapshots.py", "ingest/reader.py", "warehouse/load.py"],
                # Of the asset as a whole: any handle of any day makes it fresh. The check `fresh`
                # looks at each handle.
                freshness_policy=dg.FreshnessPolicy.time_window(
                    warn_window=timedelta(hours=26), fail_window=timedelta(hours=36)
                ),
            )
            for relation in RELATIONS
        ],
        partitions_def=grid.cells,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=250),
    )
    def snapshots(
        context: dg.AssetExecutionContext, config: SnapshotConfig, warehouse: Warehouse
    ) -> Iterator[dg.AssetMaterialization]:
        settings = load_settings()
        home = Home.of(settings).ensure(settings)
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
        "page (a credit a page) and loaded into DuckDB. The accounts on it: "
        "`followers_on(handle, day)`."
    ),
    "following": (
        "Whom one tracked handle follows on one UTC day, read from Social Fetch page by page "
        "(a credit a page) and loaded into DuckDB. The accounts on it: "
        "`following_on(handle, day)`."
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
        # A run that midnight overtakes goes on with its day.
        self.day = settings.day()
        self.asked: set[SnapshotKey] = set()
        self.landing = landing_at(home.landing, home.root)
        self.registry, wrong = registry_in_force(home.registry)
        if wrong is not None:
            context.log.warning(wrong)
        self.keys, self.not_handles = _keys(
            context.partition_keys, relations, self.registry, due_only=config.due_only
        )
        self.asked_for = len(self.keys) + len(self.not_handles)
        self.unfinished: dict[SnapshotKey, str] = {}
        self.transient = False
        self.stopped: str | None = None
        self.pages_missing: dict[SnapshotKey, int | None] = {}
        self.new_fields: dict[Relation, Counter[str]] = {one: Counter() for one in relations}
        self.loaded_something = False
        self.spending = Spending(settings, self.registry, self.landing, context.run_id)
        self.costs: dict[tuple[str, str], Cost] = {}
        # Attempts that no loaded snapshot stands for: the ledger must have them all the same.
        self.attempts: dict[SnapshotKey, tuple[Attempt, ...]] = {}
        self.not_begun: list[SnapshotKey] = []
        self.disordered: Mapping[SnapshotKey, float] = {}
        self.busy = False
        self.before: dict[tuple[str, str], Before] = {}

    def materialize(self) -> Iterator[dg.AssetMaterialization]:
        """Yields one event a finished partition. Raises Failure naming those that are not."""
        plan = self._plan()
        self.unfinished.update(plan.refused)
        self.asked = {one.key for one in plan.read}
        plan.read = self._with_known(self._if_loadable(plan.read))
        self.disordered = plan.disordered
        budget = self.spending.prepare(plan.read, self.costs) if plan.read else Budget(None)
        self._log_plan(plan)
        # What this run already reported before it was retried is not reported again.
        if self.context.retry_number == 0:
            for row in plan.ready:
                yield snapshot_event(row, None)
        try:
            yield from self._loaded(plan.load)
            if plan.read:
                yield from self._read_and_load(plan.read, budget)
                self._keep_ledger()
        finally:
            self._tag_bought(budget)
            if self.loaded_something:
                self._publish()
        self._tidy()
        self._tell_new_fields()
        cap = "the credits of the day were spent: raise SF_ASSETS_DAILY_CREDITS or daily_credits"
        self._remember("capped", dict.fromkeys(self.not_begun, cap))
        self._fail_if_unfinished()
        self._tell_heartbeat()

    def _plan(self) -> Plan:
        loaded, self.before = self._known()
        plan = make_plan(
            self.keys,
            today=self.settings.day(),
            refresh=self.config.refresh,
            untracked=self.config.untracked,
            landing=self.landing,
            loaded=loaded,
            before=self.before,
            registry=self.registry,
            costs=self.costs,
        )
        plan.refused.update(self.not_handles)
        return plan

    def _if_loadable(self, lists: list[ListToRead]) -> list[ListToRead]:
        """The lists to read; none of them where what would be bought could not be loaded."""
        if not lists:
            return lists
        try:
            preflight.look(self.home, sum(one.pages_before or 1 for one in lists))
        except SfAssetsError as error:
            for one in lists:
                self.unfinished[one.key] = f"nothing was bought: {error}"
            return []
        return lists

    def _with_known(self, lists: list[ListToRead]) -> list[ListToRead]:
        """Give the lists that are not read whole what is known of them."""
        recent = [wanted.key for wanted in lists if not wanted.whole]
        if not recent:
            return lists
        try:
            with reading(self.home.readable) as con:
                known = known_lists(con, recent)
        except (FileNotFoundError, duckdb.Error) as error:
            self.context.log.warning(f"all lists are read whole: what is known cannot be ({error})")
            return lists
        return [replace(one, known=known.get(one.key), whole=one.key not in known) for one in lists]

    def _known(self) -> tuple[dict[SnapshotKey, SnapshotRow], dict[tuple[str, str], Before]]:
        """What is loaded of this run's lists, and what each was like when last seen."""
        for again in (False, True):
            try:
                with reading(self.home.readable) as con:
                    loaded = {row.key: row for row in loaded_rows(con, self.keys)}
                    self.costs = costs_before(con, self.settings.day())
                    return loaded, lists_before(con, self.settings.day())
            except (FileNotFoundError, duckdb.Error) as error:
                if again or not (self.home.lake or self.home.warehouse.exists()):
                    break
                # It is only a copy, or of an older version: the warehouse has today's form as soon
                # as it was opened.
                self.context.log.warning(f"{self.home.readable} is renewed ({first_line(error)})")
                with contextlib.suppress(SfAssetsError, duckdb.Error):
                    with self.warehouse.get_connection():
                        pass
                    self._publish()
        return {}, {}  # what is landed says what is bought

    def _log_plan(self, plan: Plan) -> None:
        self.context.log.info(
            f"{counted(self.asked_for, 'list')}: {len(plan.read)} to read, {len(plan.load)} landed "
            f"and to load, {len(plan.ready)} finished already, {len(plan.refused)} refused"
            + (f". Spend: {self.spending.plan}" if plan.read else "")
            + order_sentence(plan.disordered)
        )

    def _read_and_load(
        self, lists: list[ListToRead], budget: Budget
    ) -> Iterator[dg.AssetMaterialization]:
        key = self.settings.key() if self.settings.simulated else self.settings.require_key()
        collecting = partial(self._collect, lists, key or SecretStr("sfk_sim"), budget)
        for batch in read_in_batches(collecting, say=self.context.log.info):
            for ended in batch:
                self._note(ended)
            # One message a batch: each is a row in Dagster's event log, tens of milliseconds dear.
            failed = [
                f"{one.key}: {self.unfinished[one.key]}"
                for one in batch
                if one.key in self.unfinished
            ]
            if failed:
                more = [f"and {len(failed) - NAMED} more"] if len(failed) > NAMED else []
                self.context.log.warning("unfinished: " + "\n".join([*failed[:NAMED], *more]))
            finished = [ended for ended in batch if ended.finished]
            yield from self._loaded([one.landed for one in finished if one.landed], finished)

    async def _collect(
        self, lists: list[ListToRead], key: SecretStr, budget: Budget
    ) -> AsyncIterator[Collected]:
        settings = self.settings
        headers = {"X-Sim-Day": settings.today.isoformat()} if settings.today else None
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
                today=settings.day,
            ):
                yield ended

    def _intent(self) -> str | None:
        """Names a refresh, so that a retry of the run goes on with it instead of starting over."""
        if not self.config.refresh:
            return None
        return self.context.run.root_run_id or self.context.run_id

    def _note(self, ended: Collected) -> None:
        self.attempts[ended.key] = ended.attempts
        if ended.stopped in ("unauthorized", "credits"):
            self.stopped = ended.stopped
        if ended.stopped == "credits":
            self.pages_missing[ended.key] = ended.pages_missing
        self.new_fields[ended.key.relation].update(ended.new_fields)
        if ended.stopped == "budget":
            # Our own caps are no failure: the list is read on another day, or with a larger cap.
            self.not_begun.append(ended.key)
        elif not ended.finished:
            self.unfinished[ended.key] = ended.reason or "unfinished"
            self.transient |= not ended.permanent

    def _loaded(
        self, landings: Sequence[Landed], collected: Sequence[Collected] = ()
    ) -> Iterator[dg.AssetMaterialization]:
        if not landings:
            return
        try:
            rows, failures = load(self.warehouse.get_connection, self.home.archive, landings)
        except Exception as error:
            # The other lists are read on, and what is landed is loaded by the next attempt.
            why = str(error) if isinstance(error, SfAssetsError) else first_line(error)
            for landed in landings:
                self.unfinished[landed.key] = f"what was landed is not loaded: {why}"
            self.busy |= isinstance(error, WarehouseBusy)
            self.transient |= self.busy
            self.context.log.warning(
                f"{counted(len(landings), 'list is', 'lists are')} landed and not loaded: {why}"
            )
            return
        self.loaded_something |= bool(rows)
        for failure in failures:
            self._note_load_failure(failure)
        ended = {one.key: one for one in collected}
        by_key = {landed.key: landed for landed in landings}
        for row in rows:
            self.attempts.pop(row.key, None)
        # One message a batch: each is a row in Dagster's event log, tens of milliseconds dear.
        if rows:
            self.context.log.info(
                "\n".join(
                    log_line(row, ended[row.key].bought if row.key in ended else 0) for row in rows
                )
            )
        damaged = [f"{row.key} {row.damaged_fields:,}" for row in rows if row.damaged_fields]
        if damaged:
            self.context.log.warning(
                "fields that are not what the contract says are stored as NULL, so many a list: "
                + ", ".join(damaged)
            )
        for row in rows:
            yield snapshot_event(row, by_key[row.key], self.disordered.get(row.key))

    def _note_load_failure(self, failure: LoadFailure) -> None:
        self.unfinished[failure.key] = (
            f"{failure.key}: its landed pages cannot be loaded ({failure.reason}); they are "
            f"kept in {self.landing.path(failure.key)}"
        )

    def _keep_ledger(self) -> None:
        """Note what was paid for lists that did not finish, and the balance before and after.

        Nothing here fails a run. What is in the archive reaches the tables with the next run.
        """
        day = self.settings.day()
        try:
            balances = self.spending.finish()
            self._tell_spending(balances)
            left = {**self._left_behind(), **self.attempts}
            paid = [one for key, attempts in left.items() for one in paid_for(key, attempts)]
            if paid or balances:
                write_ledger(self.home.archive, day, paid, balances)
            if not self.busy:
                self._record_new_files(day - timedelta(days=LANDING_DAYS))
                self.loaded_something = True
        except Exception as error:
            self.context.log.warning(
                f"the ledger of this run is not in the warehouse: {first_line(error)}"
            )

    def _tell_spending(self, balances: Balances | None) -> None:
        if self.not_begun:
            names = ", ".join(f"{key.handle} {key.relation}" for key in self.not_begun[:20])
            self.context.log.warning(
                f"nothing was left for {counted(len(self.not_begun), 'list')} ({names}"
                f"{', …' if len(self.not_begun) > 20 else ''}): raise SF_ASSETS_DAILY_CREDITS, or "
                "their daily_credits or priority in handles.yaml"
            )
        if balances is None:
            return
        self.context.log_event(
            dg.AssetObservation(
                SOCIAL_FETCH_API,
                description=self.spending.plan,
                metadata={
                    "balance_before": dg.MetadataValue.int(balances.balance_before),
                    "balance_after": dg.MetadataValue.int(balances.balance_after),
                    "expected_credits": dg.MetadataValue.int(self.spending.expected),
                    "credits": dg.MetadataValue.int(balances.credits),
                    "unexplained": dg.MetadataValue.int(balances.unexplained),
                    "lists_without_a_page": dg.MetadataValue.int(len(self.not_begun)),
                },
            )
        )

    def _tag_bought(self, budget: Budget) -> None:
        """Note on the run what it bought itself: other runs may buy at the same time."""
        bought = {PAGES_TAG: budget.pages_bought, CREDITS_TAG: budget.credits_bought}
        instance, run = self.context.instance, self.context.run
        if self.context.retry_number:
            before = instance.get_run_by_id(run.run_id) or run
            bought = {tag: n + int(before.tags.get(tag, 0)) for tag, n in bought.items()}
        # A run that is started again begins with the tags of the one before it.
        if any(bought.values()) or PAGES_TAG in run.tags:
            instance.add_run_tags(run.run_id, {tag: str(n) for tag, n in bought.items()})

    def _left_behind(self) -> dict[SnapshotKey, tuple[Attempt, ...]]:
        """What the ledger lacks of days before: of runs that were killed, since a run last came as
        far as to this."""
        today = self.settings.day()
        since = today - timedelta(days=LANDING_DAYS)
        ended: dict[SnapshotKey, str] = {}
        noted: dict[tuple[SnapshotKey, int], int] = {}
        with (
            contextlib.suppress(FileNotFoundError, duckdb.Error),
            reading(self.home.readable) as con,
        ):
            ((last,),) = con.execute(
                "SELECT max(snapshot_date) FROM credit_balances WHERE snapshot_date < ?", [today]
            ).fetchall()
            if last is not None:
                # A list of the day before may have been read on after midnight.
                since = max(since, last - timedelta(days=1))
            for relation, handle, day, at in con.execute(
                "SELECT relation, handle, snapshot_date, "
                "strftime(finished_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ') "
                "FROM internal.snapshots WHERE snapshot_date BETWEEN ? AND ?",
                [since, today],
            ).fetchall():
                ended[SnapshotKey(day, handle, relation)] = at
            for relation, handle, day, attempt, credits in con.execute(
                "SELECT relation, handle, snapshot_date, attempt, credits FROM credit_ledger "
                "WHERE snapshot_date BETWEEN ? AND ?",
                [since, today],
            ).fetchall():
                noted[SnapshotKey(day, handle, relation), attempt] = credits
        found = {}
        for day in self.landing.days():
            if since <= day < today:
                for key, landed in self.landing.read_each(self.landing.unsettled(day, ended)):
                    if isinstance(landed, Landed):
                        found[key] = tuple(
                            one
                            for one in landed.attempts
                            if one.spent > noted.get((key, one.number), -1)
                        )
        return found

    def _publish(self) -> None:
        try:
            publish(self.home, self.warehouse.wait_seconds)
        except PublishFailed as error:
            self.context.log.warning(str(error))

    def _tidy(self) -> None:
        """Drop raw pages of days long archived."""
        oldest = self.settings.day() - timedelta(days=LANDING_DAYS)
        old = [key for day in self.landing.days() if day < oldest for key in self.landing.keys(day)]
        if not old:
            return
        try:
            with reading(self.home.readable) as con:
                there = names_below(self.home.archive, "day=*/*.parquet")
                archived = {row.key for row in loaded_rows(con, old) if row.archive_file in there}
        except (FileNotFoundError, duckdb.Error):
            return  # what is archived cannot be told: everything stays
        try:
            self._keep_paid(archived)
        except Exception as error:
            self.context.log.warning(
                f"raw pages are kept, for the ledger cannot be: {first_line(error)}"
            )
            return
        removed = drop_days_before(self.landing, oldest, keep=set(old) - archived)
        self.context.log.info(f"removed the raw pages of {removed} archived snapshots")

    def _keep_paid(self, keys: set[SnapshotKey]) -> None:
        """Put into the archive what only the landing of these lists knows of their cost: a refresh
        that broke off after the day was loaded, and was never gone on with."""
        paid = []
        for key, landed in self.landing.read_each(sorted(keys)):
            if isinstance(landed, Landed) and landed.attempts and landed.attempts[-1].end is None:
                paid += paid_for(key, landed.attempts)
        if paid:
            write_ledger(self.home.archive, self.settings.day(), paid)
            self._record_new_files(self.settings.day())

    def _record_new_files(self, since: date) -> None:
        with self.warehouse.get_connection() as con:
            committed(con, "load", lambda: record_new_files(con, self.home.archive, since))

    def _tell_new_fields(self) -> None:
        """Fields the contract does not have, once a run: the landing keeps them, we do not read."""
        for relation, counts in self.new_fields.items():
            if counts:
                told = {one_line(name, 60): count for name, count in counts.most_common(50)}
                self.context.log.warning(f"{ASSET_OF[relation]}: fields new to us: {told}")
                self.context.log_event(
                    dg.AssetObservation(
                        ASSET_OF[relation],
                        description="Social Fetch sends fields that its contract does not have.",
                        metadata={"new_fields": dg.MetadataValue.json(told)},
                    )
                )

    def _credits_missing(self) -> int:
        """About how many credits the lists take that money cut short."""
        missing = 0
        for key, pages in self.pages_missing.items():
            before = self.before.get((key.relation, key.handle))
            # A list that was never begun counts as one page.
            missing += pages if pages is not None else before.pages if before else 1
        return missing

    def _fail_if_unfinished(self) -> None:
        if not self.unfinished and self.stopped is None:
            return
        if self.transient and self.stopped is None and self._retries_here():
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=shortened(RETRY_SECONDS))
        self._remember("failed", {**dict.fromkeys(self.pages_missing), **self.unfinished})
        handles = sorted({key.handle for key in self.unfinished})
        # Lists that money cut short would each say the same: one sentence says it for all.
        reasons = list(
            dict.fromkeys(
                reason for key, reason in self.unfinished.items() if key not in self.pages_missing
            )
        )
        said = ""
        if self.unfinished:
            said = (
                f"{len(self.unfinished)} of {counted(self.asked_for, 'list')} did not finish "
                f"({', '.join(handles[:20])}{', …' if len(handles) > 20 else ''}); "
                "the others are stored. " + " | ".join(reasons[:5])
            )
        missing = self._credits_missing()
        if self.pages_missing:
            money = (
                f"credits ran out: about {missing} more are missing for the rest of "
                f"{counted(len(self.pages_missing), 'list')}, stored as far as it could be read. "
                "Top up and run the day again: it goes on where it stopped"
            )
            said = f"{money}. {said}"
            reasons.insert(0, money)
        raise dg.Failure(
            said.strip(),
            metadata={
                "credits_missing": dg.MetadataValue.int(missing),
                "unfinished": dg.MetadataValue.json([str(key) for key in sorted(self.unfinished)]),
                "reasons": dg.MetadataValue.json(reasons[:50]),
                "refused_by_vendor": dg.MetadataValue.text(self.stopped or ""),
            },
            allow_retries=False,
        )

    def _remember(self, kind: days.Trouble, why: Mapping[SnapshotKey, str | None]) -> None:
        """Note which of the day's due lists this run leaves unfinished, and why."""
        due = {
            key: reason
            for key, reason in why.items()
            if (key.day == self.day or key in self.asked)
            and self.registry.due(key.handle, key.relation, key.day)
        }
        try:
            days.note(self.home, kind, self.context.run_id, due, self.registry)
        except OSError as error:
            self.context.log.warning(f"{self.home.days} cannot be written: {error}")

    def _tell_heartbeat(self) -> None:
        try:
            problem = days.tell_heartbeat(self.home, self.settings, self.registry, self.day)
            if problem:
                self.context.log.warning(
                    f"SF_ASSETS_HEARTBEAT_URL did not take the call ({problem})"
                )
        except (SfAssetsError, duckdb.Error, OSError) as error:
            self.context.log.warning(f"the heartbeat was not sent: {error}")

    def _retries_here(self) -> bool:
        # Who waits at a terminal is told at once; a run on its own tries again in a minute.
        return (
            self.context.retry_number < RETRIES
            and self.context.run.tags.get("sf_assets/launched_by") != "command line"
        )


def _keys(
    partition_keys: Sequence[str],
    relations: Sequence[Relation],
    registry: Registry,
    *,
    due_only: bool,
) -> tuple[list[SnapshotKey], dict[SnapshotKey, str]]:
    """The lists of these partitions; and why others are none, by keys that are only labels.

    Anybody can add a partition in the UI: what is no handle must not become a path or a request.
    """
    keys: list[SnapshotKey] = []
    refused: dict[SnapshotKey, str] = {}
    for partition_key in partition_keys:
        day, handle = split_grid_key(partition_key)
        if not is_handle(handle):
            label = ascii(handle)[1:-1][:60]
            refused |= {
                SnapshotKey(day, label, one): f"the partition '{label}' is no handle as "
                "handles.yaml spells it (a-z, 0-9, _ and . only), so nothing was asked for. Delete "
                "it in the Dagster UI, and track the handle with `sf-assets track`"
                for one in relations
            }
            continue
        tracked = registry.settings_of(handle).relations
        keys += [
            SnapshotKey(day, handle, one)
            for one in relations
            if one in tracked and (not due_only or registry.due(handle, one, day))
        ]
    return keys, refused
