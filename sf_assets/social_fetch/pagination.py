"""Follows the pages of one list and decides when to stop. Does no I/O.

    walk = ListWalk("followers", "nasa")
    while walk.has_next_page:
        answer = await client.list_page("followers", "nasa", **walk.request_params())
        walk.update(answer.response)

Replaying stored pages through `update`, in order, restores the state, so another process can
continue the walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol, TypedDict

from .models import (
    AccountKey,
    LookupStatus,
    Relation,
)
from .quick import AnyAccount, AnyPage

__all__ = ["EndReason", "ListWalk", "PageParams"]

MAX_BARREN_PAGES = 3

# Limits against endless lists: twice the total, or without a total twice the largest size so far,
# plus this many accounts.
MORE_THAN_TOTAL = 1_000
MORE_THAN_LARGEST = 10_000
# More than all people: such a total is not a limit.
MAX_TOTAL = 10**10


class EndReason(str, Enum):
    """Why the reading of an open list ended."""

    EXHAUSTED = "exhausted"
    """The API reported the end of the list."""
    PAGE_LIMIT = "page_limit"
    """`max_pages` was reached before the end."""
    BUDGET = "budget"
    """Our own cap on credits was reached."""
    OUT_OF_CREDITS = "out_of_credits"
    """The API asked for payment."""
    KNOWN = "known"
    """The pages showed only known accounts (see `KnownAccounts`)."""
    STALLED = "stalled"
    """The API reported more pages and repeated itself, or returned too many accounts."""


# The list has more pages, but our limits or credits ended the walk.
_RESUMABLE = frozenset(
    {EndReason.PAGE_LIMIT, EndReason.KNOWN, EndReason.BUDGET, EndReason.OUT_OF_CREDITS}
)

# Other vendors of the same lists return these at TikTok's cap. They are not positions.
_NO_CURSORS = frozenset({"-1", "0"})


class PageParams(TypedDict):
    """The arguments of `SocialFetchClient.list_page` for the next page."""

    cursor: str | None
    page: int


class KnownAccounts(Protocol):
    """Decides from the accounts of each page whether the rest of the list is known."""

    def update(self, new: Sequence[AnyAccount]) -> None:
        """Add the accounts that a page showed for the first time."""

    @property
    def reached(self) -> bool:
        """Whether to stop reading."""


class ListWalk:
    """The state of a walk through one list.

    `lookup_status` is None before the first page. `end_reason` is None while there are more pages,
    and stays None if any page shows that the list is hidden, private or missing. `pages` counts
    pages, `listed` distinct accounts. `first_total` and `reported_total` are the first and the last
    total that a page had, because totals change during a walk. `last_cursor` is the cursor of the
    next page. `max_pages` may be changed before `reopen`. `known` ends the walk when nothing is
    new. `largest` is the largest number of accounts that the list ever showed. An account without
    a handle and an id is not listed.
    """

    def __init__(
        self,
        relation: Relation,
        handle: str,
        *,
        max_pages: int | None = None,
        known: KnownAccounts | None = None,
        largest: int = 0,
    ) -> None:
        if max_pages is not None and max_pages < 1:
            raise ValueError("max_pages must be at least 1")
        self.relation = relation
        self.handle = handle
        self.max_pages = max_pages
        self.lookup_status: LookupStatus | None = None
        self.end_reason: EndReason | None = None
        self.pages = 0
        self.credits_charged = 0
        self.reported_total: int | None = None
        self.first_total: int | None = None
        self.last_cursor: str | None = None
        self._cursors: set[str] = set()
        self._accounts: set[int | AccountKey] = set()
        self._barren_pages = 0
        # The accounts of the page that `repeats` got, and their keys: `update` needs them again.
        self._page: tuple[Sequence[AnyAccount], list[int | AccountKey | None]] = ((), [])
        self._known = known
        self._largest = largest

    @property
    def listed(self) -> int:
        """The number of distinct accounts so far."""
        return len(self._accounts)

    @property
    def most_accounts(self) -> int:
        """The limit on accounts, from the first total or the largest size so far."""
        if self.first_total is None or self.first_total > MAX_TOTAL:
            return 2 * self._largest + MORE_THAN_LARGEST
        return 2 * self.first_total + MORE_THAN_TOTAL

    @property
    def has_next_page(self) -> bool:
        """Whether the walk has another page to request."""
        return self.end_reason is None and self.lookup_status in (None, LookupStatus.FOUND)

    def request_params(self) -> PageParams:
        """The parameters of the next request. Raises ValueError after the end."""
        if not self.has_next_page:
            raise ValueError(f"the walk through {self.relation} of @{self.handle} has ended")
        return PageParams(cursor=self.last_cursor, page=self.pages + 1)

    def update(self, response: AnyPage) -> None:
        """Add the next page. Raises ValueError after the end of the list.

        A walk that our own limits ended accepts more pages, because a replay may have more pages
        than a limit that was lowered later.
        """
        if self.end_reason in _RESUMABLE:
            self.end_reason = None
        if not self.has_next_page:
            raise ValueError(f"the walk through {self.relation} of @{self.handle} has ended")
        data = response.data
        self.pages += 1
        self.credits_charged += response.meta.credits_charged
        self.lookup_status = data.lookup_status
        if data.total is not None:
            self.reported_total = data.total
            if self.first_total is None:
                self.first_total = data.total
        if data.lookup_status is not LookupStatus.FOUND:
            return
        before = self.listed
        accounts: Sequence[AnyAccount] = data.accounts
        keys, self._page = self._keys_of(accounts), ((), [])
        if self._known is None:
            self._accounts.update([key for key in keys if key is not None])
        else:
            new: list[AnyAccount] = []
            for account, key in zip(accounts, keys, strict=True):
                if key is not None and key not in self._accounts:
                    self._accounts.add(key)
                    new.append(account)
            self._known.update(new)
        self._barren_pages = 0 if self.listed > before else self._barren_pages + 1
        self.end_reason = self._end(data.page.has_more, data.page.next_cursor)
        if self.end_reason is None and data.page.next_cursor:
            self.last_cursor = data.page.next_cursor
            self._cursors.add(self.last_cursor)
            self._apply_limits()

    def repeats(self, accounts: Sequence[AnyAccount]) -> int:
        """The number of accounts of the next page that are listed already or on it twice."""
        keys = [key for key in self._keys_of(accounts) if key is not None]
        return len(keys) - len(set(keys) - self._accounts)

    def _keys_of(self, accounts: Sequence[AnyAccount]) -> list[int | AccountKey | None]:
        """The key of each account; None without a handle and an id."""
        if self._page[0] is not accounts:
            self._page = (accounts, [_key(account) for account in accounts])
        return self._page[1]

    def stop(self, reason: EndReason) -> None:
        """End the walk with `budget`, `out_of_credits` or `stalled`, unless it has ended."""
        if reason not in (EndReason.BUDGET, EndReason.OUT_OF_CREDITS, EndReason.STALLED):
            raise ValueError(f"only the walk itself can end with {reason.value}")
        if self.has_next_page:
            self.end_reason = reason

    def reopen(self) -> None:
        """Continue after `budget`, `out_of_credits`, `page_limit` or `known`, if these no longer
        apply."""
        if self.end_reason in _RESUMABLE:
            self.end_reason = None
            self._apply_limits()

    def _end(self, has_more: bool | None, cursor: str | None) -> EndReason | None:
        # A damaged `hasMore` is None. Then the cursor decides, and without one the end is unknown.
        if has_more is False or cursor in _NO_CURSORS:
            return EndReason.EXHAUSTED
        if not cursor or cursor in self._cursors:
            return EndReason.STALLED
        if self.listed > self.most_accounts:
            return EndReason.STALLED
        # A page without a new account is normal: pages may be empty, overlap or repeat.
        if self._barren_pages >= MAX_BARREN_PAGES:
            return EndReason.STALLED
        return None

    def _apply_limits(self) -> None:
        if self._known is not None and self._known.reached:
            self.end_reason = EndReason.KNOWN
        elif self.max_pages is not None and self.pages >= self.max_pages:
            self.end_reason = EndReason.PAGE_LIMIT


def _key(account: AnyAccount) -> int | AccountKey | None:
    """The key as a number if possible, which takes a third of the memory."""
    user_id = account.platform_user_id
    if user_id and user_id.isascii() and user_id.isdigit() and user_id[0] != "0":
        return int(user_id) if len(user_id) <= 20 else account.key
    return account.key if account.key[1] else None
