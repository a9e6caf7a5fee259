"""The home folder: its layout, its marker file and its first use."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from sf_assets import __version__
from sf_assets.errors import SettingsError
from sf_assets.settings import Settings
from sf_assets.storage.address import Lake
from sf_assets.storage.files import Changed, read_text, write_atomically
from sf_assets.storage.object_store import is_remote, place
from sf_assets.storage.shared import Shared
from sf_assets.text import first_line

HOME_FORMAT = 1
# Small files that all workers share. In a remote home the documents are objects, and the lines of
# the logs are in the Postgres of its lake.
DOCUMENTS = (
    "handles.yaml", ".handles.yaml.last-good", "annotations.yaml", "vendor_facts.json",
    "pseudonyms.key", "forgetting.json", "home.json",
)  # fmt: skip
LOGS = ("alerts.jsonl", "days.jsonl", "forgotten.jsonl")


@dataclass(frozen=True)
class Home:
    """Paths below SF_ASSETS_HOME. Building one touches no disk; `ensure` does.

    `address` is SF_ASSETS_WAREHOUSE, `storage` SF_ASSETS_STORAGE: where tables and files are kept
    instead, `handles` SF_ASSETS_HANDLES. With `group_read` the home's group may read what is
    published, and nothing else.
    """

    root: Path
    address: str | None = field(default=None, repr=False)
    storage: str | None = None
    group_read: bool = False
    handles: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Home:
        """The home that the settings name."""
        address = settings.warehouse.get_secret_value() if settings.warehouse else None
        return cls(settings.home, address, settings.storage, settings.group_read, settings.handles)

    def __str__(self) -> str:
        """The name of the home in messages and tags."""
        return str(self.storage if self.far else self.root)

    @property
    def far(self) -> bool:
        """Whether the home is remote: its folder has only temporary files and may start empty."""
        return self.lake is not None and self.lake.on_postgres and is_remote(self.storage or "")

    def document(self, name: str) -> Path:
        """The path of one of DOCUMENTS."""
        return place(self.storage or "", "home", name) if self.far else self.root / name

    def log(self, name: str) -> Path | Shared:
        """One of LOGS, or the lock or count of that name."""
        return Shared(self.lake, name) if self.far and self.lake else self.root / name

    @property
    def marker(self) -> Path:
        """The marker file: the format of the home and its first day."""
        return self.document("home.json")

    @property
    def registry(self) -> Path:
        """The handles file."""
        return place(self.handles) if self.handles else self.document("handles.yaml")

    @property
    def annotations(self) -> Path:
        """The file of notes on days, `annotations.yaml`."""
        return self.document("annotations.yaml")

    @property
    def landing(self) -> Path:
        """The folder of pages that are not archived yet."""
        return place(self.storage, "landing") if self.storage else self.root / "landing"

    @property
    def archive(self) -> Path:
        """The folder of the archived lists, `day=<date>/*.parquet`."""
        return place(self.storage, "archive") if self.storage else self.root / "archive"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file of a home without a lake."""
        return self.root / "warehouse" / "sf_assets.duckdb"

    @property
    def lake(self) -> Lake | None:
        """The lake that is the warehouse; None if it is a DuckDB file."""
        if self.address is None:
            return None
        return Lake(self.address, f"{self.storage or self.root}/lake/")

    @property
    def writable(self) -> Path | Lake:
        """The warehouse for writing: the DuckDB file or the lake."""
        return self.lake or self.warehouse

    @property
    def readable(self) -> Path | Lake:
        """The warehouse for people, sensors and checks: the published file or the lake."""
        return self.lake or self.published

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: Dagster's runs and events."""
        return self.root / "dagster"

    @property
    def generations(self) -> Path:
        """The folder of the published copies of the warehouse."""
        return self.root / "published"

    @property
    def published(self) -> Path:
        """The published copy of the warehouse, which readers open."""
        return self.root / "sf_assets.duckdb"

    @property
    def rewriting(self) -> Path:
        """Where archive files are rewritten before they replace the old ones."""
        return place(self.storage or "", "rewriting") if self.far else self.root / "rewriting"

    @property
    def writer(self) -> Path | Shared:
        """The lock of the process that derives, packs or rewrites."""
        return self.log("writer") if self.far else self.warehouse

    @property
    def counts(self) -> Path | Shared:
        """Where the credits of a day are counted, for a landing that keeps no files."""
        return self.log("") if self.far else self.root

    @property
    def deliveries(self) -> Path | Shared:
        """The delivered alerts."""
        return self.log("alerts.jsonl")

    @property
    def days(self) -> Path | Shared:
        """The reasons of failed lists per day, and the heartbeats that were sent."""
        return self.log("days.jsonl")

    @property
    def vendor_facts(self) -> Path:
        """The results of `sf-assets probe`."""
        return self.document("vendor_facts.json")

    def start_date(self, settings: Settings) -> date:
        """First day of the grid: the setting, else the day of first use, else today.

        With SF_ASSETS_GRID_DAYS it moves, so that the grid has at most that many days. Raises
        SettingsError if a newer version made the home.
        """
        marker = self._read_marker()
        if marker is None and self.far and (self.root / "handles.yaml").exists():
            marker = self.ensure(settings)._read_marker()  # it was a local home before
        start = settings.start_date
        if start is None:
            start = date.fromisoformat(marker["start_date"]) if marker else settings.day()
        if settings.grid_days is None:
            return start
        # Earlier days stay in the warehouse; only Dagster's grid no longer has them.
        return max(start, settings.day() - timedelta(days=settings.grid_days - 1))

    def begin_earlier(self, settings: Settings, day: date) -> None:
        """Move the first day of the grid back to `day`, for imported lists.

        Raises SettingsError if a setting fixes the first day.
        """
        if day >= self.start_date(settings):
            return
        name = "SF_ASSETS_GRID_DAYS" if settings.grid_days else "SF_ASSETS_START_DATE"
        if settings.grid_days or settings.start_date:
            raise SettingsError(f"{name} sets the first day of the grid; change it to show {day}")
        marker = {**(self._read_marker() or {}), "start_date": day.isoformat()}
        write_atomically(self.marker, json.dumps(marker) + "\n")

    def ensure(self, settings: Settings) -> Home:
        """Create the home on first use; return it.

        Raises SettingsError if it cannot be written or was made by a newer version.
        """
        known = self._read_marker() is not None
        if not known or (self.far and not self.root.exists()):
            try:
                self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.chmod(self.root, 0o700)  # personal data: only for this user
            except OSError as error:
                raise self._unwritable(error) from None
        if not known:
            self._begin(settings.start_date or settings.day())
        if self.group_read:
            # The group may enter the root, but not these folders, regardless of the umask.
            for folder in (self.landing, self.archive, self.warehouse.parent, self.dagster):
                if not is_remote(folder):
                    folder.mkdir(exist_ok=True)
                    folder.chmod(0o700)
        if self.group_read and self.root.stat().st_mode & 0o777 == 0o700:
            os.chmod(self.root, 0o710)  # the group may enter, without listing
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise self._unwritable("no permission to write there")
        return self

    def _begin(self, start: date) -> None:
        marker = {
            "format": HOME_FORMAT,
            "start_date": start.isoformat(),
            "created_by": __version__,
        }
        try:
            if self.far:
                self._move_in()
            write_atomically(
                self.marker, json.dumps(marker) + "\n", unless_changed=None if self.far else ""
            )
        except Changed:
            return  # created by another worker, or taken from the folder
        except OSError as error:
            raise self._unwritable(error) from None

    def _move_in(self) -> None:
        """Take over the documents and logs of a local home, once for all workers."""
        for name in LOGS:
            log = self.log(name)
            if isinstance(log, Shared) and (self.root / name).exists() and not log.size():
                log.append(read_text(self.root / name).splitlines())
        for name in DOCUMENTS:  # the marker last: without it, all is copied again
            with suppress(FileNotFoundError, Changed):
                text = read_text(self.root / name)
                write_atomically(self.document(name), text, unless_changed=None)

    def _unwritable(self, why: object) -> SettingsError:
        return SettingsError(
            f"SF_ASSETS_HOME: {self.root} cannot be written ({why}); nothing was read. Give write "
            "permission or set SF_ASSETS_HOME to another folder"
        )

    def _read_marker(self) -> dict[str, str] | None:
        try:
            text = read_text(self.marker)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(
                f"SF_ASSETS_HOME: {self.marker} cannot be read ({first_line(error)})"
            ) from None
        except UnicodeDecodeError:
            text = ""
        try:
            marker = json.loads(text)
            made_as = int(marker["format"])
            date.fromisoformat(marker["start_date"])
        except (ValueError, KeyError, TypeError):
            raise SettingsError(
                f"SF_ASSETS_HOME: {self.marker} is not a marker of ours; restore it or choose "
                "another folder"
            ) from None
        if made_as > HOME_FORMAT:
            raise SettingsError(
                f"SF_ASSETS_HOME: {self.root} has format {made_as}, made by a newer sf_assets "
                f"({marker.get('created_by', 'unknown')}); this one ({__version__}) knows formats "
                f"up to {HOME_FORMAT}. Upgrade sf_assets; nothing was changed"
            )
        return dict(marker)
