"""Where things are kept that may be beyond this machine: a lake for the tables, S3 for the files.

`SF_ASSETS_WAREHOUSE` and `SF_ASSETS_STORAGE` name them; unset, everything is in the home.
"""

from __future__ import annotations

import os
import random
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sf_assets.errors import SettingsError

if TYPE_CHECKING:
    from upath import UPath


SCALE_MISSING = (
    "the packages for it are missing: install sf_assets with the extra `scale` "
    "(pip install 'sf_assets[scale]')"
)


# How long an object store is waited for: TRIES x AWS_MAX_ATTEMPTS (5) answers and their pauses.
CONNECT_SECONDS, ANSWER_SECONDS, TRIES = 5, 10, 2
# Others write the same name just now; S3 asks to try again.
_MEANWHILE, MEANWHILE_TRIES = "ConditionalRequestConflict", 20


def is_remote(storage: str | Path) -> bool:
    """True for an address, False for a folder of a file system."""
    return str(storage).startswith("s3://")


def place(storage: str, *parts: str) -> Path:
    """A folder below `storage`: a Path, or for `s3://…` a UPath, which looks the same to callers.

    Raises SettingsError where the packages for S3 are not installed.
    """
    if not is_remote(storage):
        return Path(storage).joinpath(*parts)
    try:
        from upath import UPath
    except ImportError:
        raise SettingsError(f"SF_ASSETS_STORAGE: {SCALE_MISSING}") from None
    # What another worker wrote a moment ago must be seen: nothing of a listing is remembered.
    times = {"connect_timeout": CONNECT_SECONDS, "read_timeout": ANSWER_SECONDS}
    root: UPath = UPath(
        storage, use_listings_cache=False, skip_instance_cache=False, config_kwargs=times
    )
    # Beside botocore's own tries (AWS_MAX_ATTEMPTS, 5), each of these as often as that.
    root.fs.retries = TRIES
    return cast(Path, root.joinpath(*parts))


class Store:
    """The object store a place is in, as fsspec has it; where it cannot be reached: OSError."""

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
                    # No answer at all, or no credentials; what it answers s3fs makes an OSError.
                    raise OSError(f"{self._root} cannot be reached ({error})") from None
                except OSError as error:
                    if not left or _MEANWHILE not in str(error.__cause__):
                        raise
                    time.sleep(random.uniform(0.05, 0.5))
            raise AssertionError

        return asking


def pattern_of(path: str | Path) -> str:
    """The pattern by which DuckDB reads this one file, whatever its folders are called.

    Its readers take `*`, `?` and `[` for wildcards: below `a[b]` they read what is below `ab`.
    """
    if is_remote(path):
        return str(path)
    # Nothing escapes a backslash there; `?` stands for it.
    return "/".join(
        _WILDCARD.sub(r"[\g<0>]", part).replace("\\", "?") if _WILDCARD.search(part) else part
        for part in str(path).split("/")
    )


_WILDCARD = re.compile(r"[*?\[]")


def put(file: Path, target: Path) -> None:
    """Copy a file of this machine to a place of an object store: whole, or not at all.

    Raises OSError.
    """
    Store(target).put_file(str(file), target.path)  # type: ignore[attr-defined]


def put_bytes(body: bytes, target: Path, mode: str = "overwrite", **condition: str) -> None:
    """The same with what is in memory; mode "create" raises FileExistsError where it is there."""
    name: str = target.path  # type: ignore[attr-defined]
    Store(target).pipe_file(name, body, mode=mode, **condition)


def names_below(root: Path, pattern: str) -> set[str]:
    """Names below a place that match a pattern, relative to it; asked all at once."""
    base = f"{root}/"
    return {str(path).removeprefix(base) for path in root.glob(pattern)}


def s3_secret() -> dict[str, Any]:
    """What DuckDB has to know to reach S3, by the names of its secret's parameters.

    From where every tool of AWS takes it: environment, profile, or the role of the machine or pod.
    Raises SettingsError where there is nothing.
    """
    session, region, endpoint = _session(
        tuple((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    )
    found = session.get_credentials()
    if found is None:
        raise SettingsError(
            "SF_ASSETS_STORAGE: there are no credentials for S3; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile, or give the machine a role"
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
