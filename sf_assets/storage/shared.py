"""Small state that all workers of a remote home share, in the Postgres of its lake.

A `Shared` has a name and replaces a small file of a local home: lines that several processes
append to, a count, or a lock. A lock belongs to a Postgres session: it ends with its process, or
when Postgres notices that the machine is gone.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sf_assets.storage.address import Lake, without_password
from sf_assets.storage.files import Locked
from sf_assets.storage.object_store import SCALE_MISSING
from sf_assets.text import first_line

_CONNECT_SECONDS, _GONE_SECONDS = 10, 60

_connections: dict[tuple[int, str], Any] = {}
_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class Shared:
    """Shared lines, count or lock of one name. Raises OSError if Postgres does not respond."""

    lake: Lake
    name: str

    def __str__(self) -> str:
        return f"{self.name} of {self.lake}"

    def lines(self) -> list[str]:
        """The lines, oldest first."""
        rows = self._ask("SELECT line FROM sf_assets_home.lines WHERE name = %(name)s ORDER BY id")
        return [str(line) for (line,) in rows]

    def size(self) -> int:
        """The number of lines."""
        rows = self._ask("SELECT count(*) FROM sf_assets_home.lines WHERE name = %(name)s")
        return int(rows[0][0]) if rows else 0

    def append(self, lines: Sequence[str]) -> None:
        """Add lines at the end."""
        self._ask(
            "INSERT INTO sf_assets_home.lines (name, line) "
            "SELECT %(name)s, unnest(%(lines)s::text[])",
            {"lines": list(lines)}, write=True,
        )  # fmt: skip

    def replace(self, lines: Sequence[str]) -> None:
        """Replace all lines by these, also those that another process adds meanwhile."""
        self._ask(
            "WITH old AS (DELETE FROM sf_assets_home.lines WHERE name = %(name)s) "
            "INSERT INTO sf_assets_home.lines (name, line) "
            "SELECT %(name)s, unnest(%(lines)s::text[])",
            {"lines": list(lines)}, write=True,
        )  # fmt: skip

    def change(self, lines: Mapping[str, str]) -> None:
        """Replace these lines by others. What another process adds meanwhile stays."""
        self._ask(
            "UPDATE sf_assets_home.lines AS l SET line = made.line "
            "FROM unnest(%(old)s::text[], %(new)s::text[]) AS made(old, line) "
            "WHERE l.name = %(name)s AND l.line = made.old",
            {"old": list(lines), "new": list(lines.values())}, write=True,
        )  # fmt: skip

    def count(self) -> int | None:
        """The count; None if it was not started."""
        rows = self._ask("SELECT n FROM sf_assets_home.counts WHERE name = %(name)s")
        return int(rows[0][0]) if rows else None

    def begin_count(self, n: int) -> None:
        """Start a count at `n`, unless another process did."""
        self._ask(
            "INSERT INTO sf_assets_home.counts (name, n) VALUES (%(name)s, %(n)s) "
            "ON CONFLICT DO NOTHING",
            {"n": n}, write=True,
        )  # fmt: skip

    def add(self, n: int) -> None:
        """Add to a started count, which stays at 0 or above.

        If a response is lost, it may add twice, but it never subtracts twice.
        """
        if n < 0:
            self.count()  # connects again if necessary
        self._ask(
            "UPDATE sf_assets_home.counts SET n = greatest(0, n + %(n)s) WHERE name = %(name)s",
            {"n": n}, write=True, tries=1 if n < 0 else 2,
        )  # fmt: skip

    def raise_to(self, n: int) -> None:
        """Raise a started count to at least `n`."""
        self._ask(
            "UPDATE sf_assets_home.counts SET n = greatest(n, %(n)s) WHERE name = %(name)s",
            {"n": n}, write=True,
        )  # fmt: skip

    def take(self, limit: int, most: int) -> int:
        """Raise a count by up to `most` and return by how much: less near `limit`, 0 at it."""
        rows = self._ask(_TAKE, {"limit": limit, "most": most}, write=True)
        return int(rows[0][0]) if rows else 0

    def forget_older(self, beginning: str) -> None:
        """Delete the counts with names that start with `beginning` and sort before this one."""
        self._ask(
            "DELETE FROM sf_assets_home.counts "
            "WHERE name < %(name)s COLLATE \"C\" AND name LIKE %(kind)s",
            {"kind": f"{beginning}%"}, write=True,
        )  # fmt: skip

    @contextmanager
    def locked(self, wait_seconds: float) -> Iterator[Callable[[], None]]:
        """Hold the lock of this name. Raises Locked if it is not free within `wait_seconds`.

        It ends with the connection that holds it. The yielded function raises OSError then.
        """
        deadline = time.monotonic() + wait_seconds
        with closing(self._connect()) as con, self._telling():
            while True:
                with con.cursor() as cursor:
                    cursor.execute(_SOON_GONE)
                    cursor.execute(_LOCK, [f"sf_assets {self.name}"])
                    if cursor.fetchone()[0]:
                        break
                if time.monotonic() > deadline:
                    raise Locked
                time.sleep(random.uniform(0.05, 0.3))
            yield partial(self._still_held, con)

    def _still_held(self, con: Any) -> None:
        try:
            with self._telling(), con.cursor() as cursor:
                cursor.execute("SELECT 1")
        except OSError as error:
            raise OSError(
                f"the lock {self} was lost with its connection, and another worker may write now; "
                f"run this again ({error})"
            ) from None

    def _ask(
        self,
        statement: str,
        values: Mapping[str, Any] = {},
        *,
        write: bool = False,
        tries: int = 2,
    ) -> list[tuple[Any, ...]]:
        """The rows of a statement. Writing creates the tables; without them there are no rows."""
        with self._telling(), _one_at_a_time:
            import psycopg2
            from psycopg2 import errors

            for left in reversed(range(tries)):
                con = self._kept()
                try:
                    with con.cursor() as cursor:
                        cursor.execute(statement, {**values, "name": self.name})
                        return cursor.fetchall() if cursor.description else []
                except errors.UndefinedTable:
                    if not write:
                        return []
                    self._make_tables(con)
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    # The connection was closed since its last use.
                    _connections.pop((os.getpid(), self.lake.address), None)
                    with suppress(psycopg2.Error):
                        con.close()
                    if not left:
                        raise
            raise OSError(f"{self}: its tables cannot be created")

    def _make_tables(self, con: Any) -> None:
        from importlib import resources

        ddl = (resources.files(__package__) / "shared.sql").read_text(encoding="utf-8")
        with con.cursor() as cursor:
            cursor.execute(f"BEGIN; SELECT pg_advisory_xact_lock(20261128); {ddl}; COMMIT")

    def _kept(self) -> Any:
        """The connection of this process."""
        key = os.getpid(), self.lake.address
        con = _connections.get(key)
        if con is None or con.closed:
            con = _connections[key] = self._connect()
        return con

    def _connect(self) -> Any:
        with self._telling():
            import psycopg2
            import psycopg2.extensions

            dsn = self.lake.address.removeprefix("ducklake:postgres:")
            # A machine that vanishes must not hold a query, and with it all lists, for minutes.
            waits = {"connect_timeout": _CONNECT_SECONDS, "tcp_user_timeout": 1000 * _GONE_SECONDS}
            con = psycopg2.connect(**{**waits, **psycopg2.extensions.parse_dsn(dsn)})
            con.autocommit = True
            return con

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            import psycopg2
        except ImportError:
            raise OSError(f"{self.lake} cannot be opened: {SCALE_MISSING}") from None
        try:
            yield
        except psycopg2.Error as error:
            reason = without_password(first_line(error))
            raise OSError(f"{self.lake} cannot be opened ({reason})") from None


_LOCK = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
# A machine that is gone holds a lock for a minute.
_SOON_GONE = (
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
)
_TAKE = """
UPDATE sf_assets_home.counts
SET step = greatest(1, least(%(most)s, (%(limit)s - n) / 64)),
    n = n + greatest(1, least(%(most)s, (%(limit)s - n) / 64))
WHERE name = %(name)s AND n < %(limit)s
RETURNING step
"""
