"""What scales: a Postgres and an S3 of one's own on loopback, or why there is none.

    with postgres() as cluster: cluster.database() -> a DSN
    with object_store() as store: store.bucket() -> s3://…

Postgres is Debian's (`apt-get install postgresql`), S3 is moto's server. `missing()` says in a
sentence what is not installed; tests skip with it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import duckdb

_numbers = count()


@cache
def missing(*what: str) -> str | None:
    """Why a test that needs these (`lake`, `postgres`, `s3`) cannot run here; None where it can."""
    for one in what:
        if one == "lake" and not all(map(_extension, ("ducklake", "postgres_scanner", "httpfs"))):
            return f"DuckDB's extensions for {duckdb.__version__} are missing: .[scale-offline]"
        if one == "postgres" and _postgres_programs() is None:
            return "Postgres is not installed: apt-get install postgresql"
        if one == "postgres" and os.name == "posix" and os.getuid() == 0 and not _ordinary_user():
            return "Postgres does not run as root, and there is no user postgres to run it as"
        if one == "s3" and not all(map(importlib.util.find_spec, ("moto", "s3fs", "upath"))):
            return "moto's server or s3fs is not installed: .[scale-test]"
    return None


def _extension(name: str) -> bool:
    found = importlib.util.find_spec(f"duckdb_extension_{name}")
    return found is not None and any(
        (Path(folder) / "extensions" / f"v{duckdb.__version__}").is_dir()
        for folder in found.submodule_search_locations or ()
    )


def _postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl: on the path, or where Debian keeps them."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in folders if (one / "initdb").exists()), None)


def _ordinary_user() -> bool:
    return (
        shutil.which("runuser") is not None
        and subprocess.run(["id", "postgres"], capture_output=True).returncode == 0
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """A running Postgres with the user `sf` and a password."""

    port: int
    data: Path = Path()
    password: str = "hush, it's a secret"

    def process(self) -> int:
        """The number of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def database(self) -> str:
        """A new database; its DSN."""
        import psycopg2

        name = f"t{os.getpid()}_{next(_numbers)}"
        con = psycopg2.connect(self.dsn("postgres"))
        try:
            con.autocommit = True
            con.cursor().execute(f"CREATE DATABASE {name}")
        finally:
            con.close()
        return self.dsn(name)

    def dsn(self, database: str) -> str:
        quoted = self.password.replace("'", r"\'")
        return f"host=127.0.0.1 port={self.port} user=sf password='{quoted}' dbname={database}"


@contextmanager
def postgres() -> Iterator[Cluster]:
    """A cluster in a temporary folder, gone afterwards. It does not fsync: tests pull no plugs."""
    programs = _postgres_programs()
    assert programs is not None
    root = Path(tempfile.mkdtemp(prefix="sf_pg_"))
    cluster = Cluster(free_port(), root / "data")
    run_as: list[str] = []
    if os.getuid() == 0:
        shutil.chown(root, "postgres")
        run_as = ["runuser", "-u", "postgres", "--"]
    secret = root / "password"
    secret.write_text(cluster.password)
    secret.chmod(0o644)
    data = root / "data"

    def call(*command: str) -> None:
        with (root / "log").open("ab") as log:
            subprocess.run(
                [*run_as, *command],
                check=True,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    call(
        *(str(programs / "initdb"), "-D", str(data), "-U", "sf", "--auth=scram-sha-256"),
        *("--no-sync", "-E", "UTF8", "--locale=C", f"--pwfile={secret}"),
    )
    options = f"-p {cluster.port} -k {root} -c listen_addresses=127.0.0.1 -c fsync=off"
    pg_ctl = (str(programs / "pg_ctl"), "-D", str(data))
    call(*pg_ctl, "-o", f"{options} -c max_connections=300", "-l", str(data / "log"), "-w", "start")
    try:
        yield cluster
    finally:
        call(*pg_ctl, "-m", "immediate", "-w", "stop")
        shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True)
class ObjectStore:
    """A running S3. `environment` is what a process has to have to reach it."""

    port: int
    process: int = 0

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def bucket(self) -> str:
        """A new bucket with a prefix."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        from botocore.session import Session

        Session().create_client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        ).create_bucket(Bucket=name)
        return f"s3://{name}/some/prefix"


@contextmanager
def object_store(*, quick: bool = False) -> Iterator[ObjectStore]:
    """An S3 on loopback, in memory of a process of its own: moto's server, or `quick_s3`."""
    port = free_port()
    quickly = ("sf_assets_tests.quick_s3", str(port))
    command = quickly if quick else ("moto.server", "-H", "127.0.0.1", "-p", str(port))
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    store = ObjectStore(port, process.pid)
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the S3 did not start")
            time.sleep(0.1)
        yield store
    finally:
        process.kill()
        process.wait()
