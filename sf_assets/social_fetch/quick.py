"""Parses pages that match the contract exactly, ten times as fast as `models`.

Any deviation (a damaged, missing or new field, a text with several lines) is left to `pages`, which
reports it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from pydantic import TypeAdapter, ValidationError

from sf_assets.text import one_line

from .models import (
    MAX_ACCOUNTS,
    AccountKey,
    FollowedAccount,
    Follower,
    FollowersResponse,
    FollowingResponse,
    LookupStatus,
    Relation,
    UtcDatetime,
    key_of,
)

__all__ = ["AnyAccount", "AnyPage", "filled", "quick_page"]

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Price: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1000)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
_MOST = msgspec.Meta(max_length=MAX_ACCOUNTS)
# `details` may be nested deeply. Longer ones are left to `pages`.
_DETAILS_BYTES = 150


class _Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", gc=False):
    @property
    def model_extra(self) -> dict[str, Any] | None:
        """Fields that are not in the contract: none, because a page with new fields is rejected."""
        return None


class _Meta(_Fields, frozen=True):
    request_id: _Text
    credits_charged: _Price
    version: Literal["v1"]
    cached: bool | None = None


class _Page(_Fields, frozen=True):
    next_cursor: str | None
    has_more: bool


class _Avatars(_Fields, frozen=True):
    large: str | None = None
    medium: str | None = None
    thumb: str | None = None


class _Metrics(_Fields, frozen=True):
    followers: _Count
    following: _Count


class _FollowedMetrics(_Metrics, frozen=True):
    posts: _Count


class _Account(_Fields, frozen=True, kw_only=True):
    handle: _Text
    display_name: str | None
    avatar_url: str | None
    bio: str | None
    verified: bool
    platform_user_id: str | None = None
    sec_uid: str | None = None

    @property
    def key(self) -> AccountKey:
        """The strongest identifier of the account."""
        return key_of(self.platform_user_id, self.sec_uid, self.handle)


class QuickFollower(_Account, frozen=True, kw_only=True):
    """Like `models.Follower`."""

    avatar_urls: _Avatars | None = None
    private_account: bool
    metrics: _Metrics


class QuickFollowed(_Account, frozen=True, kw_only=True):
    """Like `models.FollowedAccount`, with unparsed date and details."""

    profile_url: _Text
    private_account: bool | None = None
    region: str | None = None
    language: str | None = None
    account_created_at: str | int | None = None
    details: msgspec.Raw = msgspec.Raw()
    metrics: _FollowedMetrics


class _FollowersData(_Fields, frozen=True):
    lookup_status: LookupStatus
    accounts: Annotated[list[QuickFollower], _MOST] = msgspec.field(name="followers")
    page: _Page
    total: _Count | None = msgspec.field(name="totalFollowers")


class _FollowingData(_Fields, frozen=True):
    lookup_status: LookupStatus
    accounts: Annotated[list[QuickFollowed], _MOST]
    page: _Page
    total: _Count | None = msgspec.field(name="totalAccounts")


class QuickFollowers(_Fields, frozen=True):
    """Like `models.FollowersResponse`."""

    data: _FollowersData
    meta: _Meta


class QuickFollowing(_Fields, frozen=True):
    """Like `models.FollowingResponse`."""

    data: _FollowingData
    meta: _Meta


AnyAccount: TypeAlias = Follower | FollowedAccount | QuickFollower | QuickFollowed
AnyPage: TypeAlias = FollowersResponse | FollowingResponse | QuickFollowers | QuickFollowing


def filled(account: AnyAccount) -> int:
    """The number of fields of an account that have a value."""
    if isinstance(account, QuickFollowed):
        empty = bytes(account.details) in (b"", b"null")
        values = msgspec.structs.astuple(account)
        return len(values) - values.count(None) - empty
    if isinstance(account, QuickFollower):
        values = msgspec.structs.astuple(account)
        return len(values) - values.count(None)
    return sum(getattr(account, name) is not None for name in type(account).model_fields)


_FOLLOWERS = msgspec.json.Decoder(QuickFollowers)
_FOLLOWING = msgspec.json.Decoder(QuickFollowing)
_MOMENT: TypeAdapter[Any] = TypeAdapter(UtcDatetime)


def quick_page(relation: Relation, body: bytes) -> QuickFollowers | QuickFollowing | None:
    """Parse the body of a list response; None if `read_page` must parse it."""
    page: QuickFollowers | QuickFollowing
    try:
        if relation == "followers":
            page = _FOLLOWERS.decode(body)
        else:
            page = _FOLLOWING.decode(body)
            for account in page.data.accounts:
                details = bytes(account.details)
                if len(details) > _DETAILS_BYTES or details[:1] not in (b"", b"{", b"n"):
                    return None
                details.decode()  # msgspec does not check it
                if account.account_created_at is not None:
                    _MOMENT.validate_python(account.account_created_at)
    except (msgspec.MsgspecError, ValidationError, ValueError, RecursionError):
        return None
    return page if one_line(page.meta.request_id) == page.meta.request_id else None
