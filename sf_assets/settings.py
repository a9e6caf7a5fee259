"""The settings of a home: one typed object, built by hand or from environment variables."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from sf_assets.errors import SettingsError
from sf_assets.model import ALERT_KINDS, AlertKind
from sf_assets.text import first_line

DEFAULT_BASE_URL = "https://api.socialfetch.dev"

_WAREHOUSE = re.compile(r"ducklake:(?!sqlite:|mysql:)\S")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[^/\s][^\s]*)?")

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKLY = re.compile(rf"({'|'.join(_WEEKDAYS)}) +([01]?[0-9]|2[0-3])")

_HOST = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

_CRON_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_CRON_PART = re.compile(r"(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?")
_CRON_NAMES = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun)\b"
)


def is_loopback(url: str) -> bool:
    """Whether the host of the URL is this machine (127.0.0.0/8, ::1 or localhost)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseModel):
    """The settings of one home. Does not read the environment; `load_settings` does.

    Raises pydantic's ValidationError for an unknown name or an invalid value.
    docs/configuration.md explains each setting under its variable in `VARIABLES`.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    home: Path = Path("data")
    base_url: str = Field(default=DEFAULT_BASE_URL, min_length=1)
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    warehouse: SecretStr | None = None
    storage: str | None = None
    landing_sync: Literal["page", "batch"] = "page"
    handles: str | None = None
    group_read: bool = False
    start_date: date | None = None
    grid_days: int | None = Field(default=None, ge=2)
    cron: str = "0 6 * * *"
    concurrency: int = Field(default=32, ge=1, le=500)
    daily_credits: int | None = Field(default=None, ge=0)
    alert_urls: tuple[SecretStr, ...] = ()
    alerts: tuple[AlertKind, ...] = ("status", "failed", "drift", "break")
    weekly: str = "mon 8"
    heartbeat_url: SecretStr | None = None
    ui_url: str | None = None
    ui_hosts: tuple[str, ...] = ()
    today: date | None = None

    @field_validator("alerts", mode="before")
    @classmethod
    def _kinds(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        named = [part.strip().lower() for part in value.split(",") if part.strip()]
        if named == ["none"]:
            return ()
        unknown = [name for name in named if name not in ALERT_KINDS]
        if unknown:
            raise ValueError(
                f"{unknown[0][:40]!r} is not a kind of alert; use a comma-separated list of "
                f"{', '.join(ALERT_KINDS)}, or none"
            )
        return tuple(kind for kind in ALERT_KINDS if kind in named)

    @field_validator("weekly")
    @classmethod
    def _weekday_and_hour(cls, value: str) -> str:
        if not _WEEKLY.fullmatch(value.strip().lower()):
            raise ValueError("must be a weekday and an hour in UTC, such as mon 8")
        return value.strip().lower()

    @field_validator("ui_url")
    @classmethod
    def _ui(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.strip()
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or " " in value:
            raise ValueError("must be the URL of the Dagster UI, such as http://127.0.0.1:3000")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("appears in every alert, so it must not have user, query or fragment")
        _ = parts.port  # raises ValueError for an invalid port
        return value.rstrip("/")

    @field_validator("heartbeat_url")
    @classmethod
    def _heartbeat(cls, value: SecretStr | None) -> SecretStr | None:
        # The message quotes nothing: such URLs contain tokens.
        problem = ValueError("must be a URL that starts with http:// or https://")
        try:
            parts = urlsplit(value.get_secret_value().strip() if value else "http://unset")
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            raise problem from None
        if not good:
            raise problem
        return value

    @field_validator("alert_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            # A URL may contain commas: mailto://…?to=a@x.org,b@x.org
            parts = re.split(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)", value)
            return tuple(part for part in (part.strip(" \t\r\n,") for part in parts) if part)
        return value

    @field_validator("api_key", mode="before")
    @classmethod
    def _strip(cls, value: object) -> object:
        # A key from a file often ends with a line break.
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return (text.strip() or None) if isinstance(text, str) else text

    @field_validator("ui_hosts", mode="before")
    @classmethod
    def _host_names(cls, value: object) -> object:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            return value
        hosts = tuple(str(part).strip().lower() for part in parts if str(part).strip())
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f"{host[:80]!r} is not a host name; use a comma-separated list of the names "
                    "under which the UI is reached, such as ui.example.org or ui.example.org:8443"
                )
        return hosts

    @field_validator("start_date", "today", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        # Otherwise pydantic would read "0" as seconds since 1970.
        if isinstance(value, str) and not re.fullmatch(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value.strip()
        ):
            raise ValueError("must be a day such as 2026-11-22 (YYYY-MM-DD)")
        return value.strip() if isinstance(value, str) else value

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        # Checked here, because Dagster would reject the whole code location.
        fields = value.split()
        if len(fields) != 5 or not all(map(_is_cron_field, fields, _CRON_FIELDS)):
            raise ValueError(
                "must have five fields (minute hour day month weekday), such as 0 6 * * *"
            )
        # Every field can be valid and the time still never come: 31 February.
        try:
            next(CronSim(value, datetime.now(timezone.utc)))
        except (CronSimError, StopIteration):
            raise ValueError(f"{value!r} never occurs; for a daily run use 0 6 * * *") from None
        return value

    @field_validator("base_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        value = value.strip()
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or " " in value:
            raise ValueError("must be an origin such as https://api.socialfetch.dev")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must be an origin without user, query or fragment")
        if parts.scheme == "http" and not is_loopback(value):
            # The key would be sent unencrypted.
            raise ValueError("plain http is allowed for loopback only; use https")
        _ = parts.port  # raises ValueError for an invalid port
        return value.rstrip("/")

    @field_validator("warehouse")
    @classmethod
    def _warehouse_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _WAREHOUSE.match(value.get_secret_value()):
            raise ValueError(
                "must be ducklake:postgres:<dsn> or ducklake:<catalog file>; leave it unset for a "
                "DuckDB file in the home"
            )
        return value

    @field_validator("storage")
    @classmethod
    def _storage_place(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.strip()
        if "://" in value:
            if not _BUCKET.fullmatch(value.rstrip("/")):
                raise ValueError("must be a folder, or s3://bucket/prefix")
            return value.rstrip("/")
        return str(_folder(Path(value)))

    @field_validator("handles")
    @classmethod
    def _handles_file(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "://" not in value:
            return str(_folder(Path(value.strip())))
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+/[^\s?]*[^\s?/]", value.strip()):
            raise ValueError("must be a file, or s3://bucket/path/handles.yaml")
        return value.strip()

    @field_validator("home", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if value == "":
            raise ValueError(
                "must be a folder; an empty value would mean the current folder of each process"
            )
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return _folder(value)

    @field_validator("storage")
    @classmethod
    def _tables_beside_the_files(cls, value: str | None, others: ValidationInfo) -> str | None:
        # An invalid warehouse is not in `others`, and has its own message.
        if value is not None and others.data.get("warehouse", "") is None:
            raise ValueError(
                "is for the files of a lake; set the warehouse too (ducklake:postgres:<dsn>)"
            )
        return value

    @field_validator("today")
    @classmethod
    def _pretend_day_needs_loopback(cls, value: date | None, others: ValidationInfo) -> date | None:
        if value is not None and not is_loopback(others.data.get("base_url", "http://localhost")):
            raise ValueError(
                "works only with an API on loopback: the real API answers for the current day, "
                "which would be stored under a wrong day"
            )
        return value

    @property
    def simulated(self) -> bool:
        """Whether the API is on this machine."""
        return is_loopback(self.base_url)

    def day(self) -> date:
        """The UTC day of a snapshot taken now."""
        return self.today or datetime.now(timezone.utc).date()

    def digest_day(self) -> date:
        """The newest UTC day on which the weekly digest was due; a day set by `today` counts."""
        weekday, hour = self.weekly.split()
        back = (self.day().weekday() - _WEEKDAYS.index(weekday)) % 7
        early = self.today is None and datetime.now(timezone.utc).hour < int(hour)
        return self.day() - timedelta(days=back + (7 if back == 0 and early else 0))

    def key(self) -> SecretStr | None:
        """The API key, from `api_key` or `api_key_file`; None if neither is set.

        Raises SettingsError if the file cannot be read.
        """
        if self.api_key is not None or self.api_key_file is None:
            return self.api_key
        try:
            text = self.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"SOCIALFETCH_API_KEY_FILE: cannot read {self.api_key_file} ({first_line(error)})"
            ) from None
        return SecretStr(text) if text else None

    def require_key(self) -> SecretStr:
        """The API key. Raises SettingsError if it is not set or not printable ASCII."""
        key = self.key()
        if key is None:
            raise SettingsError(
                "SOCIALFETCH_API_KEY is not set: set it to your API key (sfk_…), or try "
                "`sf-assets demo`, which needs no key"
            )
        text = key.get_secret_value()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise SettingsError(
                "SOCIALFETCH_API_KEY has characters that an HTTP header cannot carry"
            )
        return key


def _folder(path: Path) -> Path:
    """The absolute path. Raises ValueError for a path that DuckDB cannot use."""
    try:
        path = path.expanduser().absolute()
        str(path).encode()
    except (RuntimeError, UnicodeEncodeError) as error:
        raise ValueError(f"cannot be used as a folder ({first_line(error)})") from None
    if "?" in str(path):
        raise ValueError(
            f"{path} contains a ?, and databases read the rest as options; use a path without ?"
        )
    return path


def _is_cron_field(text: str, bounds: tuple[int, int]) -> bool:
    low, high = bounds
    if (low == 1 and high == 12) or high == 7:
        text = _CRON_NAMES.sub(str(low), text.lower())
    return all(
        _CRON_PART.fullmatch(part)
        and all(low <= int(number) <= high for number in re.findall(r"[0-9]+", part.split("/")[0]))
        for part in text.split(",")
    )


def load_settings(instead: Mapping[str, str | None] | None = None) -> Settings:
    """The settings from environment variables. Empty variables count as unset.

    `instead` overrides variables; None or an empty value unsets one. Raises SettingsError that
    names each invalid variable and the reason.
    """
    given = {**os.environ, **(instead or {})}
    values = {name: given[variable] for name, variable in VARIABLES.items() if given.get(variable)}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(sentence(item, VARIABLES) for item in error.errors())
        ) from None


_PREFIX = re.compile("SF_ASSETS_|SOCIALFETCH_")


def misspelt_variables(environment: Mapping[str, str]) -> list[str]:
    """Unknown variables of ours, each with the variable that it most likely should be."""
    ours = {_PREFIX.sub("", name): name for name in VARIABLES.values()}
    return [
        f"{name} ({ours[meant]}?)"
        for name in environment
        if _PREFIX.match(name) and name not in VARIABLES.values()
        for meant in get_close_matches(_PREFIX.sub("", name), ours, n=1, cutoff=0.85)
    ]


def problem(item: Any) -> str:
    """What is wrong with a value, from an error of pydantic, in plain words."""
    context, kind = item.get("ctx", {}), str(item["type"])
    for kinds, text in _PROBLEMS.items():
        if kind.startswith(kinds):
            return text.format_map(context)
    return str(item["msg"]).removeprefix("Value error, ")


# By the beginning of a type of pydantic's errors.
_PROBLEMS = {
    ("int_",): "must be a whole number",
    ("float_",): "must be a number",
    ("bool_",): "must be true or false",
    ("date_",): "must be a day such as 2026-11-22",
    ("string_type",): "must be text",
    ("list_type", "tuple_type"): "must be a list",
    ("dict_type", "model_type"): "must be a mapping",
    ("literal_error",): "must be {expected}",
    ("greater_than_equal",): "must be at least {ge}",
    ("less_than_equal",): "must be at most {le}",
    ("missing",): "is missing",
    ("extra_forbidden",): "is unknown",
}


def sentence(item: Any, names: Mapping[str, str] = {}) -> str:
    """The same with the name of the field; `names` maps fields to the names to show."""
    message = problem(item)
    field = ".".join(names.get(str(part), str(part)) for part in item["loc"])
    return f"{field}: {message}" if field else message


#: The environment variable of each setting.
VARIABLES = {
    "api_key": "SOCIALFETCH_API_KEY",
    "api_key_file": "SOCIALFETCH_API_KEY_FILE",
    "base_url": "SOCIALFETCH_BASE_URL",
    **{
        name: f"SF_ASSETS_{name.upper()}"
        for name in Settings.model_fields
        if name not in ("api_key", "api_key_file", "base_url")
    },
}
