"""The known part of a list, for `recent` lists, which are read only until nothing is new."""

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

# Accounts of the known list to compare with. A list that needs more is read to the end.
MOST_KNOWN = 2_000


class KnownList:
    """The newest part of a list at its last snapshot, top first.

    `accounts` are pairs of an account id of the warehouse (a number, `sec:` and the secUid, or `@`
    and the handle) and the handle it was seen with.
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
        """The account's rank, 0 at the top; None for an unknown account.

        A handle does not count if user ids show that it belongs to another person now.
        """
        kind, name = account.key
        ids = {"id": name if name[0].isdigit() else f"id:{name}", "sec_uid": f"sec:{name}"}
        rank = self._by_id.get(ids.get(kind, f"@{name}"))
        if rank is None:
            rank = self._by_handle.get(account.handle.lower())
            if rank is not None and kind == "id" and rank in self._numbered:
                return None
        return rank


class KnownRun:
    """Counts pages in a row whose accounts are all known and in their old order."""

    def __init__(self, known: KnownList) -> None:
        self._known = known
        self._last = -1
        self.pages = 0

    def update(self, new: Sequence[AnyAccount]) -> None:
        """Add the accounts that a page showed for the first time in this walk."""
        if not new:
            return  # a repeated page proves nothing
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
            # The next page may start anywhere in the known list.
            self._last = -1

    @property
    def reached(self) -> bool:
        """Whether enough known pages were read to stop."""
        return self.pages >= PAGES_KNOWN


def known_lists(
    con: duckdb.DuckDBPyConnection, keys: Sequence[SnapshotKey]
) -> dict[SnapshotKey, Callable[[], KnownList]]:
    """Each list at its last snapshot, at most MOST_KNOWN accounts.

    The values create the list when it is needed: until then it is Arrow, a tenth of the memory.
    """
    con.register("wanted", wanted(keys))
    rows = con.sql(sql("known_lists"), params={"most": MOST_KNOWN}).to_arrow_table()
    con.unregister("wanted")
    row_of = {
        name: at
        for at, name in enumerate(
            zip(rows["relation"].to_pylist(), rows["handle"].to_pylist(), strict=True)
        )
    }
    return {
        key: partial(_known_list, rows["account_ids"][at], rows["account_handles"][at])
        for key in keys
        if (at := row_of.get((key.relation, key.handle))) is not None
    }


def _known_list(ids: pa.ListScalar, handles: pa.ListScalar) -> KnownList:
    return KnownList(zip(ids.as_py(), handles.as_py(), strict=True))
