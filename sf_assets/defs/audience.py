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
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked, writing

#: `running` starts schedule and sensors as soon as the code location is loaded, `stopped` leaves
#: that to somebody in the UI, `none` makes none of them.
Automation = Literal["running", "stopped", "none"]

HOME_TAG = "sf_assets/home"
SNAPSHOTS_JOB, DERIVE_JOB, ALERT_JOB = "daily_snapshots", "derive", "deliver_alert"
DERIVED = ("follower_churn", "following_churn", "follower_growth", "status_changes")
# Names the operation that makes an asset; jobs select by it.
MADE_BY_TAG = "sf_assets/made_by"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KEY_PART = re.compile(r"[A-Za-z0-9_.-]+")
_TABLE_NAME = "dagster/table_name"


@dataclass(frozen=True)
class Audience:
    """What the definitions of one home share. Building it touches no disk.

    `name` stands before the names of jobs, sensors, operations and the rest, and `key_prefix`
    before the keys of the assets, so that several homes fit into one deployment. Raises
    SettingsError for a name or a prefix that Dagster does not take, and for another `automation`.
    """

    settings: Settings
    name: str = ""
    key_prefix: tuple[str, ...] = ()
    automation: Automation = "stopped"
    #: By table, where a project that merged the definitions changed the keys of assets.
    renamed: Mapping[str, dg.AssetKey] = field(default_factory=dict)
    #: Whether assets show the columns of their tables; nobody looks at those of the command line.
    shows_columns: bool = True
    #: How long a run waits for another one that writes.
    wait_seconds: ClassVar[float] = DEFAULT_WAIT_SECONDS

    def __post_init__(self) -> None:
        if self.name and not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"name: {self.name!r} has to begin with a letter, and go on with letters, digits "
                "and underscores"
            )
        for part in self.key_prefix:
            if not _KEY_PART.fullmatch(part):
                raise SettingsError(
                    f"key_prefix: {part!r} has to be letters, digits, underscores, dots and "
                    "dashes; give several parts as a list"
                )
        if self.automation not in get_args(Automation):
            raise SettingsError(
                f"automation: {self.automation!r} is none of {', '.join(get_args(Automation))}"
            )

    def named(self, what: str) -> str:
        """`daily` -> `client_a_daily`."""
        return f"{self.name}_{what}" if self.name else what

    def key(self, table: str) -> dg.AssetKey:
        """The asset that is a table of this home."""
        return dg.AssetKey([*self.key_prefix, table])

    @cached_property
    def home(self) -> Home:
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
        """Of every run that is started for this home."""
        return {HOME_TAG: str(self.home)}

    def writing(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """The warehouse for writing; waits for other writers. Raises WarehouseBusy."""
        return writing(self.home.writable, self.wait_seconds)

    @contextmanager
    def deriving(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The same for who derives: also into a far lake one at a time."""
        alone = locked(self.home.writer, self.wait_seconds) if self.home.far else nullcontext()
        with alone, self.writing() as con:
            yield con

    @property
    def default_schedule_status(self) -> dg.DefaultScheduleStatus:
        return dg.DefaultScheduleStatus(self.automation.upper())

    @property
    def default_sensor_status(self) -> dg.DefaultSensorStatus:
        return dg.DefaultSensorStatus(self.automation.upper())

    @property
    def jobs(self) -> set[str]:
        """The names of this home's jobs."""
        return {self.named(job) for job in (SNAPSHOTS_JOB, DERIVE_JOB, ALERT_JOB)}

    @property
    def keys(self) -> dict[str, dg.AssetKey]:
        """The assets that a run of this home materializes, by their tables."""
        return {table: self.key(table) for table in (*ASSET_OF.values(), *DERIVED)} | dict(
            self.renamed
        )

    def loaded_in(self, repository: dg.RepositoryDefinition) -> Audience:
        """The same, with the keys that its assets have in a code location."""
        made_by = {self.named("snapshots"), self.named("derived")}
        specs = {
            spec.key: spec
            for assets in repository.assets_defs_by_key.values()
            for spec in assets.specs
            if spec.tags.get(MADE_BY_TAG) in made_by
        }
        return replace(self, renamed=keys_by_table(specs.values()))


def keys_by_table(specs: Iterable[dg.AssetSpec]) -> dict[str, dg.AssetKey]:
    """Table -> the key its asset has now: whoever took our definitions in may have renamed it."""
    return {
        str(spec.metadata[_TABLE_NAME]).rpartition(".")[2]: spec.key
        for spec in specs
        if _TABLE_NAME in spec.metadata
    }


def snapshot_keys(keys: Mapping[str, dg.AssetKey]) -> dict[Relation, dg.AssetKey]:
    """Of `keys_by_table`, those of the two snapshot assets."""
    return {relation: keys[table] for relation, table in ASSET_OF.items() if table in keys}
