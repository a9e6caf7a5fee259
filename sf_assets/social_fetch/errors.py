r"""The errors of the Social Fetch API.

    SocialFetchError
     |- PermanentError                a retry would give the same response
     |   |- AccountError              no further request can succeed with this key
     |   |   |- Unauthorized          401
     |   |   \- InsufficientCredits   402 (and a 403 that is about payment)
     |   |- BadRequest                400
     |   |- Forbidden                 403
     |   |- UnknownRoute              404; a missing account is a 200
     |   |- UnexpectedStatus          any other status under 500 except 200, redirects included
     |   \- SchemaViolation           200 and JSON that breaks the contract (*)
     \- TransientError                a retry after a pause may succeed
         |- InternalError             500
         |- LookupFailed              502
         |- TemporarilyUnavailable    503 and 429
         |- ServerFault               any other 5xx
         |- UnreadableBody            200 without JSON; retried at most once (*)
         \- TransportFailed           no response: connection, timeout, reset
             \- UntrustedCertificate  not retried

    (*) both are a ContractViolation, which holds the body

Statuses and codes come from Social Fetch's OpenAPI description of 2026-09-16 and its error pages.
They ask clients to branch on status and code, never on the message.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from sf_assets.text import counted, one_line

from .models import ErrorBody, ErrorDetail, Relation

__all__ = [
    "AccountError",
    "BadRequest",
    "ContractViolation",
    "Forbidden",
    "InsufficientCredits",
    "InternalError",
    "LookupFailed",
    "PermanentError",
    "SchemaViolation",
    "ServerFault",
    "SocialFetchError",
    "Target",
    "TemporarilyUnavailable",
    "TransientError",
    "TransportFailed",
    "Unauthorized",
    "UnexpectedStatus",
    "UnknownRoute",
    "UnreadableBody",
    "UntrustedCertificate",
]

MAX_MESSAGE = 300
MAX_CODE = 100
MAX_KEPT_BODY = 64 * 1024

_PAYMENT_CODES = frozenset(
    {"insufficient_credits", "payment_required", "payment_settlement_failed"}
)

_Error = TypeVar("_Error", bound="SocialFetchError")


@dataclass(frozen=True)
class Target:
    """The list and the page (from 1) of a request; all None for the free routes."""

    handle: str | None = None
    relation: Relation | None = None
    page: int | None = None


NO_TARGET = Target()


class SocialFetchError(Exception):
    """The base class. `str()` says what happened, to which list, and what to do.

    `status` and `code` are None without such a response. `tries` is the number of requests sent, 0
    if the error of another list stopped this one first. `unread` counts responses with status 200
    that could not be read.
    """

    what = "Social Fetch returned an error"
    advice = "report it with the request id"

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        target: Target = NO_TARGET,
    ) -> None:
        # The message is text from the API and is printed to terminals.
        message = one_line(message, MAX_MESSAGE)
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code and one_line(code, MAX_CODE)
        self.request_id = request_id and one_line(request_id, MAX_CODE)
        self.target = target
        self.tries = 1
        self.unread = 0

    def __str__(self) -> str:
        where = ""
        if self.target.handle is not None:
            where = f" for {self.target.relation} of @{self.target.handle}, page {self.target.page}"
        facts = []
        if self.status is not None:
            facts.append(f"HTTP {self.status}")
        if self.code is not None:
            facts.append(f"code {self.code}")
        if self.request_id is not None:
            facts.append(f"request {self.request_id}")
        if self.tries > 1:
            facts.append(f"after {counted(self.tries, 'try', 'tries')}")
        return (
            self.what
            + where
            + (f" ({', '.join(facts)})" if facts else "")
            + (f": {self.message.rstrip('. ')}" if self.message else "")
            + f"; {self.remedy()}."
        )

    def remedy(self) -> str:
        """What to do about the error, as the end of its message."""
        return self.advice

    def at(self: _Error, target: Target, *, tries: int) -> _Error:
        """A copy for another list that this error stopped as well."""
        other = copy.copy(self)
        other.target, other.tries, other.unread = target, tries, 0
        return other


class PermanentError(SocialFetchError):
    """A retry would give the same response."""


class TransientError(SocialFetchError):
    """A retry after a pause may succeed."""

    advice = "try again later"


class AccountError(PermanentError):
    """No further request can succeed with this key."""


class Unauthorized(AccountError):
    """401: the key is missing, wrong or revoked."""

    what = "Social Fetch rejected the API key"
    advice = "check the key, then run again; landed pages are kept"


class InsufficientCredits(AccountError):
    """402: no credits are left, or no key was sent and the API asks for payment per call."""

    what = "Social Fetch asks for credits"
    checkout_url: str | None = None

    def remedy(self) -> str:
        """The advice, with the checkout URL if the API sent one."""
        where = f" at {self.checkout_url}" if self.checkout_url else ""
        return f"top up{where} (or set a key if none is set), then run again; nothing is lost"


class BadRequest(PermanentError):
    """400: the handle or a parameter is not valid."""

    what = "Social Fetch rejected the request"
    advice = "check the handle"


class Forbidden(PermanentError):
    """403: the key is not allowed to make this request."""

    what = "Social Fetch forbids this request"
    advice = "check the permissions of the key"


class UnknownRoute(PermanentError):
    """404: the route does not exist (a missing account is a 200 with `not_found`)."""

    what = "Social Fetch does not know this route"
    advice = "check the base URL"


class UnexpectedStatus(PermanentError):
    """A status that is not in the contract. Redirects are not followed, so they end here too."""

    what = "Social Fetch returned a status that is not in its contract"
    advice = "check the base URL"


class InternalError(TransientError):
    """500: an internal error of the API, including its billing."""

    what = "Social Fetch had an internal error"


class LookupFailed(TransientError):
    """502: the API could not read the list from TikTok."""

    what = "Social Fetch could not read the list"


class TemporarilyUnavailable(TransientError):
    """503 and 429: too many requests. `retry_after` is in seconds, or None."""

    what = "Social Fetch is busy"
    retry_after: float | None = None


class ServerFault(TransientError):
    """A 5xx that is not in the contract, such as 504 from a gateway."""

    what = "Social Fetch or a gateway before it failed"


class TransportFailed(TransientError):
    """No complete response was received."""

    what = "No complete response from Social Fetch"
    advice = "check the network and try again"


class UntrustedCertificate(TransportFailed):
    """No trusted authority signed the certificate of the API or of a proxy in between.

    It is not retried, because a pause does not change it.
    """

    what = "The certificate for Social Fetch is not trusted"
    advice = (
        "set SSL_CERT_FILE to the certificate authority of your network's proxy, or unset it if "
        "there is no proxy"
    )


class ContractViolation(SocialFetchError):
    """A response with status 200 whose body breaks the contract. It was most likely charged.

    `reason` has the path and what was expected there. `body` is the body unchanged, except that an
    echo of the API key is removed and only 64 KiB are kept.
    """

    body: bytes = b""

    def keep(self, body: bytes) -> None:
        """Keep the body, up to `MAX_KEPT_BODY` bytes."""
        self.body = body[:MAX_KEPT_BODY]

    @property
    def reason(self) -> str:
        """The path and what was expected there."""
        return self.message


class SchemaViolation(ContractViolation, PermanentError):
    """JSON that breaks the contract. It is not retried, because each response costs a credit."""

    what = "Social Fetch broke its contract"
    advice = "the API may have changed, so look for a newer version of sf_assets"


class UnreadableBody(ContractViolation, TransientError):
    """Not JSON: cut short, an HTML page of a gateway, a wrong encoding, or endless."""

    what = "The response of Social Fetch could not be read"


def error_for(
    status: int, body: bytes, *, retry_after: float | None, target: Target
) -> SocialFetchError:
    """The error for a response with a status other than 200. `retry_after` is in seconds."""
    detail = _detail(body)
    code = detail.code if detail else None
    error = _class_for(status, code)(
        detail.message if detail else "",
        status=status,
        code=code,
        request_id=detail.request_id if detail else None,
        target=target,
    )
    if isinstance(error, TemporarilyUnavailable):
        error.retry_after = retry_after
    if isinstance(error, InsufficientCredits) and detail:
        url = detail.checkout_url or ""
        error.checkout_url = url if url.startswith("https://") and " " not in url else None
    return error


_BY_STATUS: dict[int, type[SocialFetchError]] = {
    400: BadRequest,
    401: Unauthorized,
    402: InsufficientCredits,
    403: Forbidden,
    404: UnknownRoute,
    429: TemporarilyUnavailable,
    500: InternalError,
    502: LookupFailed,
    503: TemporarilyUnavailable,
}


def _class_for(status: int, code: str | None) -> type[SocialFetchError]:
    if status == 403 and code in _PAYMENT_CODES:
        return InsufficientCredits
    return _BY_STATUS.get(status, ServerFault if 500 <= status <= 599 else UnexpectedStatus)


def _detail(body: bytes) -> ErrorDetail | None:
    """The error in the body; None if there is none, as in a gateway's HTML page."""
    try:
        return ErrorBody.model_validate_json(body).error
    except ValidationError:
        return None
