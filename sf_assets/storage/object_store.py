"""Remote storage: S3 for the files (`SF_ASSETS_STORAGE`). Unset, all files are in the home."""

from __future__ import annotations

import os
import random
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sf_assets import __version__
from sf_assets.errors import SettingsError

if TYPE_CHECKING:
    from upath import UPath


SCALE_MISSING = (
    "required packages are missing; install sf_assets with the extra `scale` "
    "(pip install 'sf_assets[scale]')"
)


# Timeouts for an object store: TRIES x AWS_MAX_ATTEMPTS (5) responses and their pauses.
CONNECT_SECONDS, ANSWER_SECONDS, TRIES = 5, 10, 2
# S3 asks for a retry when another process writes the same name.
_MEANWHILE, MEANWHILE_TRIES = "ConditionalRequestConflict", 20


def is_remote(storage: str | Path) -> bool:
    """True for an `s3://` address, False for a folder."""
    return str(storage).startswith("s3://")


def place(storage: str, *parts: str) -> Path:
    """A folder below `storage`: a Path, or for `s3://…` a UPath, which has the same methods.

    Raises SettingsError if the packages for S3 are not installed.
    """
    if not is_remote(storage):
        return Path(storage).joinpath(*parts)
    try:
        from upath import UPath
    except ImportError:
        raise SettingsError(f"SF_ASSETS_STORAGE: {SCALE_MISSING}") from None
    # No cache of listings, so that new files of other workers are seen.
    config = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": ANSWER_SECONDS,
        # botocore builds its own user agent for each request, a tenth of the processor time, and
        # checks arguments, which are ours.
        "user_agent": f"sf_assets/{__version__}",
        "parameter_validation": False,
    }
    root: UPath = UPath(
        storage, use_listings_cache=False, skip_instance_cache=False, config_kwargs=config
    )
    # In addition to botocore's own retries (AWS_MAX_ATTEMPTS, 5) within each of these.
    root.fs.retries = TRIES
    return cast(Path, root.joinpath(*parts))


class Store:
    """The fsspec file system of an address. Raises OSError if it cannot be reached."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._fs = root.fs  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        from botocore.exceptions import BotoCoreError

        ask = getattr(self._fs, name)

        def asking(*values: Any, **named: Any) -> Any:
            for left in reversed(range(MEANWHILE_TRIES)):
                try:
                    return ask(*values, **named)
                except BotoCoreError as error:
                    # No response or no credentials. s3fs turns error responses into OSError.
                    raise OSError(f"cannot reach {self._root} ({error})") from None
                except OSError as error:
                    if not left or _MEANWHILE not in str(error.__cause__):
                        raise
                    time.sleep(random.uniform(0.05, 0.5))
            raise AssertionError

        return asking


def pattern_of(path: str | Path) -> str:
    """The pattern with which DuckDB reads exactly this file.

    DuckDB's readers treat `*`, `?` and `[` as wildcards: `a[b]` would read `ab`.
    """
    if is_remote(path):
        return str(path)
    # A backslash cannot be escaped, so `?` matches it.
    return "/".join(
        _WILDCARD.sub(r"[\g<0>]", part).replace("\\", "?") if _WILDCARD.search(part) else part
        for part in str(path).split("/")
    )


_WILDCARD = re.compile(r"[*?\[]")


def put(file: Path, target: Path) -> None:
    """Upload a file to an object store, completely or not at all. Raises OSError."""
    Store(target).put_file(str(file), target.path)  # type: ignore[attr-defined]


def put_bytes(body: bytes, target: Path, mode: str = "overwrite", **condition: str) -> None:
    """Upload bytes. With mode "create", raises FileExistsError if the object exists."""
    name: str = target.path  # type: ignore[attr-defined]
    Store(target).pipe_file(name, body, mode=mode, **condition)


def names_below(root: Path, pattern: str) -> set[str]:
    """The paths below `root` that match a pattern, relative to it, from one listing."""
    base = f"{root}/"
    return {str(path).removeprefix(base) for path in root.glob(pattern)}


def s3_secret() -> dict[str, Any]:
    """The parameters of DuckDB's secret for S3.

    They come from AWS's usual sources: the environment, a profile, or the role of the machine or
    pod. Raises SettingsError without credentials.
    """
    session, region, endpoint = _session(
        tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    )
    found = session.get_credentials()
    if found is None:
        raise SettingsError(
            "SF_ASSETS_STORAGE: no credentials for S3; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY or a profile, or give the machine a role"
        )
    frozen = found.get_frozen_credentials()
    secret: dict[str, Any] = {
        "KEY_ID": frozen.access_key,
        "SECRET": frozen.secret_key,
        "REGION": region,
    }
    if frozen.token:
        secret["SESSION_TOKEN"] = frozen.token
    scheme, _, host = endpoint.partition("://")
    if not host.endswith("amazonaws.com"):
        secret |= {"ENDPOINT": host, "URL_STYLE": "path", "USE_SSL": scheme == "https"}
    return secret


@lru_cache(maxsize=1)
def _session(environment: tuple[tuple[str, str], ...]) -> tuple[Any, str, str]:
    """A session of botocore, which renews credentials by itself, its region and S3's address.

    Making the client that knows the address takes a tenth of a second, and each connection asks.
    """
    try:
        from botocore.session import Session
    except ImportError:
        raise SettingsError(f"SF_ASSETS_STORAGE: {SCALE_MISSING}") from None
    session = Session()
    region = session.get_config_variable("region") or "us-east-1"
    return session, region, session.create_client("s3", region_name=region).meta.endpoint_url
