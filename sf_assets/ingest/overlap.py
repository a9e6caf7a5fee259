"""What is known of a list, for a reading that stops where nothing is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import duckdb
import pyarrow as pa

from sf_assets.handles.settings import PAGES_KNOWN
from sf_assets.model import SnapshotKey
from sf_assets.social_fetch import AnyAccount
from sf_assets.warehouse.load import wanted
from sf_assets.warehouse.statements import sql

# Accounts of a known list that a reading of its top is held against; whoever needs more is read
# to the end.
MOST_KNOWN = 2_000


class KnownList:
    """The newest part of a list as it was last known, top first.

    `accounts` are the ids of the warehouse (a number, `sec:` and the secUid, `@` and the handle)
    with the handles they were seen under.
    """

    def __init__(self, accounts: Iterable[tuple[str, str | None]]) -> None:
        self._by_id: dict[str, int] = {}
        self._by_handle: dict[str, int] = {}
        self._numbered: set[int] = set()
        for rank, (account_id, handle) in enumerate(accounts):
            self._by_id[account_id] = rank
            if handle:
                self._by_handle.setdefault(handle, rank)
            if not account_id.startswith(("sec:", "@")):
                self._numbered.add(rank)

    def __len__(self) -> int:
        return len(self._by_id)

    def rank(self, account: AnyAccount) -> int | None:
        """The account's place, 0 is the top; None for one that is not known.

        A handle counts only where no number says that it is another person's now.
        """
        kind, name = account.key
        known = {"id": name if name[0].isdigit() else f"id:{name}", "sec_uid": f"sec:{name}"}
        found = self._by_id.get(known.get(kind, f"@{name}"))
        if found is None:
            found = self._by_handle.get(account.handle.lower())
            if found is not None and kind == "id" and found in self._numbered:
                return None
        return found


class KnownRun:
    """How many pages in a row were known, each account below the one before it as it was."""

    def __init__(self, known: KnownList) -> None:
        self._known = known
        self._last = -1
        self.pages = 0

    def update(self, new: Sequence[AnyAccount]) -> None:
        """Take in the accounts that a page showed for the first time in this walk."""
        if not new:
            return  # a page that came twice proves nothing
        ranks = [self._known.rank(account) for account in new]
        falling = [rank for rank in ranks if rank is not None]
        whole = len(falling) == len(ranks) and all(
            above < below for above, below in zip([self._last, *falling], falling, strict=False)
        )
        if whole:
            self.pages += 1
            self._last = falling[-1]
        else:
            self.pages = 0
            # The next page may be known again, from wherever this one ended.
            self._last = -1

    @property
    def reached(self) -> bool:
        return self.pages >= PAGES_KNOWN


def known_lists(
    con: duckdb.DuckDBPyConnection, keys: Sequence[SnapshotKey]
) -> dict[SnapshotKey, Callable[[], KnownList]]:
    """Each list as it was last known, as deep as a reading of its top may need it.

    Held as Arrow, a tenth of the memory; the list itself is made when it is read.
    """
    con.register("wanted", wanted(keys))
    rows = con.sql(sql("known_lists"), params={"most": MOST_KNOWN}).to_arrow_table()
    con.unregister("wanted")
    place = {
        name: at
        for at, name in enumerate(
            zip(rows["relation"].to_pylist(), rows["handle"].to_pylist(), strict=True)
        )
    }
    return {
        key: partial(_known_list, rows["account_ids"][at], rows["account_handles"][at])
        for key in keys
        if (at := place.get((key.relation, key.handle))) is not None
    }


def _known_list(ids: pa.ListScalar, handles: pa.ListScalar) -> KnownList:
    return KnownList(zip(ids.as_py(), handles.as_py(), strict=True))
