"""One home in a Dagster code location: its settings, and the names that keep it apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal, get_args

import dagster as dg
import duckdb

from sf_assets.defs.partitions import Grid, PartitionSet
from sf_assets.errors import SettingsError
from sf_assets.model import ASSET_OF, Relation
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import (
    DEFAULT_WAIT_SECONDS,
    StillHeld,
    always_held,
    locked,
    writing,
)

#: `running` starts the schedule and sensors as soon as the code location is loaded. `stopped`
#: leaves that to the UI. `none` defines neither.
Automation = Literal["running", "stopped", "none"]

HOME_TAG = "sf_assets/home"
SNAPSHOTS_JOB, DERIVE_JOB, ALERT_JOB = "daily_snapshots", "derive", "deliver_alert"
DERIVED = ("follower_churn", "following_churn", "follower_growth", "status_changes")
# The operation that makes an asset. Jobs select assets by this tag.
MADE_BY_TAG = "sf_assets/made_by"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KEY_PART = re.compile(r"[A-Za-z0-9_.-]+")
_TABLE_NAME = "dagster/table_name"


@dataclass(frozen=True)
class Audience:
    """What the definitions of one home share. Creating one does not touch the disk.

    `name` is the prefix of the names of jobs, sensors and operations, and `key_prefix` that of the
    asset keys, so that several homes fit into one deployment. Raises SettingsError for a name or a
    prefix that Dagster does not accept, and for an unknown `automation`.
    """

    settings: Settings
    name: str = ""
    key_prefix: tuple[str, ...] = ()
    automation: Automation = "stopped"
    #: Table -> asset key, if a project that merged the definitions changed the keys.
    renamed: Mapping[str, dg.AssetKey] = field(default_factory=dict)
    #: Whether assets show the columns of their tables. The command line does not need them.
    shows_columns: bool = True
    #: How long a run waits for another writer, in seconds.
    wait_seconds: ClassVar[float] = DEFAULT_WAIT_SECONDS

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"name: {self.name!r} must start with a letter and contain only letters, digits "
                "and underscores"
            )
        for part in self.key_prefix:
            if not _KEY_PART.fullmatch(part):
                raise SettingsError(
                    f"key_prefix: {part!r} must contain only letters, digits, underscores, dots "
                    "and dashes; pass several parts as a list"
                )
        if self.automation not in get_args(Automation):
            raise SettingsError(
                f"automation: {self.automation!r} must be one of {', '.join(get_args(Automation))}"
            )

    def named(self, name: str) -> str:
        """The name of a job, sensor or operation of this home: `daily` -> `client_a_daily`."""
        return f"{self.name}_{name}" if self.name else name

    def key(self, table: str) -> dg.AssetKey:
        """The asset key of a table of this home."""
        return dg.AssetKey([*self.key_prefix, table])

    @cached_property
    def home(self) -> Home:
        """The home that the settings name."""
        return Home.of(self.settings)

    @cached_property
    def handles(self) -> PartitionSet:
        """The tracked handles as partitions."""
        return PartitionSet(self.named("handles"))

    @cached_property
    def grid(self) -> Grid:
        """The days and cells that can be materialized. Reads the home's marker."""
        return Grid(self.home.start_date(self.settings), self.settings.today, handles=self.handles)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of every run that is started for this home."""
        return {HOME_TAG: str(self.home)}

    def writing(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open the warehouse for writing; waits for other writers. Raises WarehouseBusy."""
        return writing(self.home.writable, self.wait_seconds)

    @contextmanager
    def deriving(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, StillHeld]]:
        """The same for who derives: also into a far lake one at a time, see `locked`."""
        far = self.home.far
        alone = locked(self.home.writer, self.wait_seconds) if far else nullcontext(always_held)
        with alone as still_held, self.writing() as con:
            yield con, still_held

    @property
    def default_schedule_status(self) -> dg.DefaultScheduleStatus:
        """The status of the schedule before anybody switches it on or off."""
        return dg.DefaultScheduleStatus(self.automation.upper())

    @property
    def default_sensor_status(self) -> dg.DefaultSensorStatus:
        """The status of the sensors before anybody switches them on or off."""
        return dg.DefaultSensorStatus(self.automation.upper())

    @property
    def jobs(self) -> set[str]:
        """The names of this home's jobs."""
        return {self.named(job) for job in (SNAPSHOTS_JOB, DERIVE_JOB, ALERT_JOB)}

    @property
    def keys(self) -> dict[str, dg.AssetKey]:
        """Table -> key of the asset that runs of this home materialize."""
        return {table: self.key(table) for table in (*ASSET_OF.values(), *DERIVED)} | dict(
            self.renamed
        )

    def loaded_in(self, repository: dg.RepositoryDefinition) -> Audience:
        """This audience with the asset keys of a code location."""
        made_by = {self.named("snapshots"), self.named("derived")}
        specs = {
            spec.key: spec
            for assets in repository.assets_defs_by_key.values()
            for spec in assets.specs
            if spec.tags.get(MADE_BY_TAG) in made_by
        }
        return replace(self, renamed=keys_by_table(specs.values()))


def keys_by_table(specs: Iterable[dg.AssetSpec]) -> dict[str, dg.AssetKey]:
    """Table -> asset key. A project that merged the definitions may have changed the keys."""
    return {
        str(spec.metadata[_TABLE_NAME]).rpartition(".")[2]: spec.key
        for spec in specs
        if _TABLE_NAME in spec.metadata
    }


def snapshot_keys(keys: Mapping[str, dg.AssetKey]) -> dict[Relation, dg.AssetKey]:
    """Relation -> key of its snapshot asset, from the result of `keys_by_table`."""
    return {relation: keys[table] for relation, table in ASSET_OF.items() if table in keys}
