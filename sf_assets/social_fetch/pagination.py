"""How one list is read, page by page, and when to stop. No I/O happens here.

    walk = ListWalk("followers", "nasa")
    while walk.has_next_page:
        answer = await client.list_page("followers", "nasa", **walk.request_params())
        walk.update(answer.response)

Replaying stored pages through `update`, in their order, gives the state they were read in, so a
walk can go on in another process.
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

# A list has an end: at twice its total, or without a total at twice its largest size so far, and
# so many accounts more.
MORE_THAN_TOTAL = 1_000
MORE_THAN_LARGEST = 10_000
# More accounts than there are people: such a total bounds nothing.
MAX_TOTAL = 10**10


class EndReason(str, Enum):
    """Why a list that could be read was read no further."""

    EXHAUSTED = "exhausted"
    """The API said there is no more."""
    PAGE_LIMIT = "page_limit"
    """`max_pages` was reached, and there was more."""
    BUDGET = "budget"
    """Our own cap on credits was reached."""
    OUT_OF_CREDITS = "out_of_credits"
    """The API asked for payment."""
    KNOWN = "known"
    """What came was known already, as `known` judged."""
    STALLED = "stalled"
    """The API said that there is more, but did not bring it, or brought more than there can be."""


# These are our doing, or our purse's: the list itself goes on.
_RESUMABLE = frozenset(
    {EndReason.PAGE_LIMIT, EndReason.KNOWN, EndReason.BUDGET, EndReason.OUT_OF_CREDITS}
)

# Other vendors of the same lists give these where TikTok's cap is reached. They are no positions.
_NO_CURSORS = frozenset({"-1", "0"})


class PageParams(TypedDict):
    """What `SocialFetchClient.list_page` needs to know about the next page."""

    cursor: str | None
    page: int


class Judge(Protocol):
    """Tells from the accounts of each page whether what comes below is known."""

    def update(self, new: Sequence[AnyAccount]) -> None:
        """Take in the accounts that a page showed for the first time."""

    @property
    def reached(self) -> bool:
        """Whether to read no further."""


class ListWalk:
    """The state of one walk through one list.

    `lookup_status` is None before the first page. `end_reason` is None while there is more to
    read, and stays None where the list turned out hidden, private or missing, at whichever page.
    `pages` counts pages, `listed` distinct accounts. `reported_total` is what the last page that
    gave a total said, `first_total` what the first one did: totals move while a list is read.
    `last_cursor` is where the next page starts. `max_pages` may be changed before `reopen`. `known`
    ends the walk where nothing is new. `largest` is how many accounts the list has shown at most
    so far. An account without a name is not listed.
    """

    def __init__(
        self,
        relation: Relation,
        handle: str,
        *,
        max_pages: int | None = None,
        known: Judge | None = None,
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
        self._known = known
        self._largest = largest

    @property
    def listed(self) -> int:
        return len(self._accounts)

    @property
    def most_accounts(self) -> int:
        """How many accounts are read at most, by the first total that was given."""
        if self.first_total is None or self.first_total > MAX_TOTAL:
            return 2 * self._largest + MORE_THAN_LARGEST
        return 2 * self.first_total + MORE_THAN_TOTAL

    @property
    def has_next_page(self) -> bool:
        return self.end_reason is None and self.lookup_status in (None, LookupStatus.FOUND)

    def request_params(self) -> PageParams:
        """What to ask for next."""
        if not self.has_next_page:
            raise ValueError(f"the walk through {self.relation} of @{self.handle} has ended")
        return PageParams(cursor=self.last_cursor, page=self.pages + 1)

    def update(self, response: AnyPage) -> None:
        """Take in the next page.

        A walk that only our own limits ended takes further pages, and goes on with them: a replay
        may hold more pages than a limit that was lowered since.
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
        named = [account for account in data.accounts if account.key[1]]
        if self._known is None:
            self._accounts.update(_compact(account.key) for account in named)
        else:
            new = []
            for account in named:
                key = _compact(account.key)
                if key not in self._accounts:
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
        """How many accounts of the next page were listed already, or are on it twice."""
        seen = {_compact(account.key) for account in accounts if account.key[1]}
        named = sum(1 for account in accounts if account.key[1])
        return named - len(seen - self._accounts)

    def stop(self, reason: EndReason) -> None:
        """End the walk: `budget`, `out_of_credits` or `stalled`; an ended one stays so."""
        if reason not in (EndReason.BUDGET, EndReason.OUT_OF_CREDITS, EndReason.STALLED):
            raise ValueError(f"{reason.value} is for the walk itself to find")
        if self.has_next_page:
            self.end_reason = reason

    def reopen(self) -> None:
        """Go on after `budget`, `out_of_credits` or, where those do not hold any more, `page_limit`
        and `known`."""
        if self.end_reason in _RESUMABLE:
            self.end_reason = None
            self._apply_limits()

    def _end(self, has_more: bool | None, cursor: str | None) -> EndReason | None:
        # A damaged `hasMore` is None: the cursor decides, and without one nobody knows the end.
        if has_more is False or cursor in _NO_CURSORS:
            return EndReason.EXHAUSTED
        if not cursor or cursor in self._cursors:
            return EndReason.STALLED
        if self.listed > self.most_accounts:
            return EndReason.STALLED
        # One page without anybody new is legal: pages may be empty, overlap, or come twice.
        if self._barren_pages >= MAX_BARREN_PAGES:
            return EndReason.STALLED
        return None

    def _apply_limits(self) -> None:
        if self._known is not None and self._known.reached:
            self.end_reason = EndReason.KNOWN
        elif self.max_pages is not None and self.pages >= self.max_pages:
            self.end_reason = EndReason.PAGE_LIMIT


def _compact(key: AccountKey) -> int | AccountKey:
    """A number takes a third of the memory, and lists have 10,000 accounts and more."""
    kind, value = key
    if kind == "id" and value.isascii() and value.isdigit() and value[0] != "0":
        return int(value) if len(value) <= 20 else key
    return key
