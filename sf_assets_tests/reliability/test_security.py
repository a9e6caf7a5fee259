"""Nobody is let in: the key stays in the environment, and what is written is for its owner only."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from sf_assets.storage.home import Home
from sf_assets_tests.homes import uncompressed
from sf_assets_tests.loopback import Reply, Request
from sf_assets_tests.served_lists import KEY, error_body

from .conftest import DAY2, World

# As the daemon does it: Dagster runs the asset, none of our commands is in between.
BY_DAGSTER = f"""
import logging, os, sys
from sf_assets.cli.runner import prepare_dagster_home
from sf_assets.storage.home import Home
from pathlib import Path
prepare_dagster_home(Home(Path(os.environ["SF_ASSETS_HOME"])))
from dagster._cli import main
sys.argv = ["dagster", "asset", "materialize", "-m", "sf_assets.definitions",
            "--select", "follower_snapshots", "--partition", "{DAY2}|one"]
main()
"""


def files(home: Home) -> Iterable[Path]:
    return (path for path in home.root.rglob("*") if path.is_file() and not path.is_symlink())


def holders(paths: Iterable[Path], secret: str) -> list[Path]:
    """Files that hold a secret, also the databases and archives among them."""
    return [path for path in paths if secret.encode() in content(path)]


def content(path: Path) -> bytes:
    """What a file holds, also where it is compressed."""
    if path.suffix == ".zst":
        return uncompressed(path)
    if path.suffix == ".parquet":
        return repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
    return path.read_bytes()


def echoes_the_key(request: Request) -> Reply | None:
    """A vendor that shows the key it was given: in an error, in a page, in JSON of no contract."""
    key = request.headers.get("x-api-key", "")
    if "/one/following" in request.path:
        return Reply(400, json={"error": {**error_body("bad_request")["error"], "message": key}})
    if "/two/following" in request.path:
        return Reply(body=f"<html>{key}</html>".encode())
    if "/shy/following" in request.path:
        return Reply(json={"data": {"lookupStatus": key}, "meta": {"requestId": key}})
    return None


def test_the_key_is_in_nothing_a_run_wrote_or_said_and_files_are_their_owners(world: World) -> None:
    world.server.fault = echoes_the_key
    home = world.home()
    ended = world.run(home, "snapshot", "--verbose")
    assert ended.code == 1
    assert "***" in ended.stderr  # it was echoed, and blotted out
    doctor = world.run(home, "doctor")
    by_dagster = world.run(home, code=BY_DAGSTER)
    assert by_dagster.code == 0, by_dagster.stderr
    for said in (ended, doctor, by_dagster):
        assert KEY not in said.stdout + said.stderr
    written = list(files(home))
    assert {"landing", "dagster", "warehouse", "archive", "published"} <= {
        path.relative_to(home.root).parts[0] for path in written
    }
    assert any(path.suffix == ".quarantine" for path in written)
    assert holders(written, KEY) == []
    # The search finds what is there.
    kinds = {path.suffix for path in holders(written, "fan.1")}
    assert kinds >= {".zst", ".parquet", ".duckdb"}
    if sys.platform == "win32":
        return  # modes are another matter there
    # Whoever starts the run, what is written is for its owner only.
    for path in (home.root, *home.root.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path} has mode {mode:o}"
    assert stat.S_IMODE(home.published.resolve().stat().st_mode) == 0o400
    assert os.path.islink(home.published)


def test_the_key_may_come_from_a_file_that_no_process_argument_names(
    world: World, tmp_path: Path
) -> None:
    secret = tmp_path / "key"
    secret.write_text(KEY + "\n")
    home = world.home()
    ended = world.run(home, SOCIALFETCH_API_KEY="", SOCIALFETCH_API_KEY_FILE=str(secret))
    assert ended.code == 0, ended.stderr
    assert holders(files(home), KEY) == []
