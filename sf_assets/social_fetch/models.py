"""Models of the responses of the Social Fetch API.

Names and types follow Social Fetch's OpenAPI description of 2026-09-16. Python names are the
snake_case of the API's camelCase. Three rules apply to every model:

* A required field must be present. It may be null only if the API declares it nullable.
* The API declares no optional field nullable, but JSON writers are seldom that strict: null in an
  *optional* field means absent, which is `None` here.
* Unknown fields are accepted and kept in `model_extra`.

Wrong types are errors: `true` is not an integer, `5` is not a string. Integers are 0 to 2**63 - 1,
so that they fit into BIGINT. `pages` handles lists with wrong fields. Text that people see (names,
codes, messages, request ids) is shortened to one line without control characters. Text of accounts
is unchanged.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
)
from pydantic.alias_generators import to_camel

from sf_assets.text import one_line

__all__ = [
    "AccountKey",
    "AvatarUrls",
    "Balance",
    "BalanceResponse",
    "ErrorBody",
    "ErrorDetail",
    "FollowedAccount",
    "FollowedAccountMetrics",
    "Follower",
    "FollowerMetrics",
    "FollowersData",
    "FollowersResponse",
    "FollowingData",
    "FollowingResponse",
    "Health",
    "LookupStatus",
    "Meta",
    "Page",
    "Relation",
    "Subscription",
    "User",
    "WhoamiData",
    "WhoamiResponse",
]

Relation: TypeAlias = Literal["followers", "following"]

AccountKey: TypeAlias = tuple[Literal["id", "sec_uid", "handle"], str]
"""The strongest identifier of an account: its kind and its value."""

Count = Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]
Text = Annotated[StrictStr, Field(min_length=1)]
# Text from the API that is shown to people and logged.
Line = Annotated[StrictStr, AfterValidator(one_line)]
# A page costs 1. A price that would use up a day's cap is an error.
Price = Annotated[StrictInt, Field(ge=0, le=1000)]

# A page has about 20 accounts.
MAX_ACCOUNTS = 10_000

# 9999-12-31T23:59:59Z, the last second a Python datetime can hold.
_LAST_SECOND = 253_402_300_799


def _seconds_or_iso(value: object) -> object:
    """Accept ISO date-times (OpenAPI, 2026-09-16) and Unix seconds (older API documentation)."""
    if isinstance(value, bool):
        raise ValueError("expected a date-time or Unix seconds, found a boolean")
    if isinstance(value, int):
        if not 0 <= value <= _LAST_SECOND:
            raise ValueError("expected Unix seconds, found a number out of their range")
        return datetime.fromtimestamp(value, tz=timezone.utc)
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        # By default pydantic accepts "1612325106" and "2021-02-03" as date-times too.
        raise ValueError("expected an ISO 8601 date-time such as 2021-02-03T04:05:06Z")
    if not isinstance(value, (str, datetime)):
        raise ValueError("expected a date-time or Unix seconds")
    return value


def _as_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("expected a date-time of the years 1 to 9999 in UTC") from None


UtcDatetime = Annotated[datetime, BeforeValidator(_seconds_or_iso), AfterValidator(_as_utc)]


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,  # errors are logged, and logs must not hold names and bios
    )


_AnyModel = TypeVar("_AnyModel", bound=BaseModel)


class LookupStatus(str, Enum):
    """Whether the list is open. All four come with HTTP 200 and cost a credit."""

    FOUND = "found"
    HIDDEN = "hidden"
    PRIVATE = "private"
    NOT_FOUND = "not_found"


class Meta(_Model):
    """Request id and billing of a successful response."""

    request_id: Annotated[Line, Field(min_length=1)]
    credits_charged: Price
    version: Literal["v1"]
    cached: StrictBool | None = None
    """True if a shared cache answered; billed like a fresh response."""


class Page(_Model):
    """Paging state: continue only while `has_more` is true and `next_cursor` is not empty."""

    next_cursor: StrictStr | None
    """Opaque. Pass it back unchanged."""
    has_more: StrictBool


class AvatarUrls(_Model):
    """Picture URLs. Their signatures change every day, so they are useless in comparisons."""

    large: StrictStr | None = None
    medium: StrictStr | None = None
    thumb: StrictStr | None = None


class FollowerMetrics(_Model):
    """Counts of accounts."""

    followers: Count
    following: Count


class FollowedAccountMetrics(_Model):
    """Counts of accounts, and of posts."""

    followers: Count
    following: Count
    posts: Count


def key_of(user_id: str | None, sec_uid: str | None, handle: str | None) -> AccountKey:
    """The strongest identifier of an account: user id, else secUid, else handle."""
    if user_id:
        return ("id", user_id)
    if sec_uid:
        return ("sec_uid", sec_uid)
    # A damaged handle is None. An account without any identifier has an empty one.
    return ("handle", (handle or "").lower())


class _Account(_Model):
    handle: Text
    """Username without `@`. People rename themselves, and freed handles get new owners."""
    display_name: StrictStr | None
    avatar_url: StrictStr | None
    bio: StrictStr | None
    verified: StrictBool
    platform_user_id: StrictStr | None = None
    """Numeric TikTok id as text; optional on every account and every day."""
    sec_uid: StrictStr | None = None

    @property
    def key(self) -> AccountKey:
        """The strongest identifier of the account: user id, else secUid, else handle."""
        return key_of(self.platform_user_id, self.sec_uid, self.handle)


class Follower(_Account):
    """One account in a follower list. The API does not return when it began to follow."""

    avatar_urls: AvatarUrls | None = None
    private_account: StrictBool
    metrics: FollowerMetrics


class FollowedAccount(_Account):
    """One account in a following list."""

    profile_url: Text
    private_account: StrictBool | None = None
    region: StrictStr | None = None
    language: StrictStr | None = None
    account_created_at: UtcDatetime | None = None
    details: dict[str, Any] | None = None
    """More fields from the source, with any content."""
    metrics: FollowedAccountMetrics


class FollowersData(_Model):
    """One page of followers; `accounts` is the API's `followers`, `total` its `totalFollowers`."""

    lookup_status: LookupStatus
    accounts: list[Follower] = Field(alias="followers", max_length=MAX_ACCOUNTS)
    page: Page
    total: Count | None = Field(alias="totalFollowers")
    """Live count, including accounts that are not listed; null if the list is not open."""


class FollowingData(_Model):
    """One page of followed accounts; `total` is the API's `totalAccounts`."""

    lookup_status: LookupStatus
    accounts: list[FollowedAccount] = Field(max_length=MAX_ACCOUNTS)
    page: Page
    total: Count | None = Field(alias="totalAccounts")
    """Live count, including accounts that are not listed; null if the list is not open."""


class FollowersResponse(_Model):
    """`GET /v1/tiktok/profiles/{handle}/followers`"""

    data: FollowersData
    meta: Meta


class FollowingResponse(_Model):
    """`GET /v1/tiktok/profiles/{handle}/following`"""

    data: FollowingData
    meta: Meta


class Subscription(_Model):
    """The subscription; pay-as-you-go accounts have none."""

    tier: Line
    status: Line
    period_end: Line


class Balance(_Model):
    """The balance of the account, in credits.

    Older API documentation has only `balance`, so only that is required. The states are plain
    text, so that a new state does not hide the balance.
    """

    balance: Count
    """Credits that can be spent."""
    payg: Count | None = None
    payg_spendable: Count | None = None
    grace_debt_credits: Count | None = None
    refill_state: Line | None = None
    """`healthy`, `grace`, `exhausted`, or null."""
    billing_alert: Line | None = None
    """`none`, `payment_action_required` or `suspended`."""
    subscription_included_remaining: Count | None = None
    subscription_included_total: Count | None = None
    subscription: Subscription | None = None
    collection_status: Line | None = None
    """`current`, `base_past_due` or `suspended`."""


class BalanceResponse(_Model):
    """`GET /v1/balance`"""

    data: Balance
    meta: Meta


class User(_Model):
    """The user of the key."""

    id: Line
    name: Line | None
    email: Line | None


class WhoamiData(_Model):
    """The data of `/v1/whoami`."""

    user: User


class WhoamiResponse(_Model):
    """`GET /v1/whoami`"""

    data: WhoamiData
    meta: Meta


class Health(_Model):
    """`GET /health`, which has no envelope."""

    status: Literal["ok"]


class ErrorDetail(_Model):
    """Branch on `code`; `message` is for people and may change."""

    code: Line
    message: Line
    request_id: Line
    checkout_url: Line | None = None


class ErrorBody(_Model):
    """The body of every error response. It has no `meta`, so it does not show a charge."""

    error: ErrorDetail


def parse(model: type[_AnyModel], body: bytes) -> _AnyModel:
    """Parse a body. Raises `pydantic.ValidationError` if it breaks the contract."""
    # by_name=False accepts only the API's names. Otherwise `accounts` would pass as `followers`.
    return model.model_validate_json(mend_surrogates(body), by_alias=True, by_name=False)


_SURROGATES = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def mend_surrogates(body: bytes) -> bytes:
    r"""Replace lone surrogates with U+FFFD.

    A name that is cut inside an emoji has a lone surrogate, which JavaScript writes as `\ud83d`. It
    is not valid Unicode, and one such name must not lose a whole list.
    """
    if b"\\u" not in body or (b"\\ud" not in body and b"\\uD" not in body):
        return body
    return _SURROGATES.sub(lambda match: match[1] or rb"\ufffd", body)
