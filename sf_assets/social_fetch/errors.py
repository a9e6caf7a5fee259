r"""What can go wrong between us and Social Fetch.

    SocialFetchError
     |- PermanentError                asking again would give the same answer
     |   |- AccountError            nobody may ask anything more with this key
     |   |   |- Unauthorized          401
     |   |   \- InsufficientCredits   402 (and a 403 that is about payment)
     |   |- BadRequest                400
     |   |- Forbidden                 403
     |   |- UnknownRoute              404; an account that is missing is a 200
     |   |- UnexpectedStatus          any other answer under 500 that is no 200, redirects too
     |   \- SchemaViolation           200, JSON, but not what the contract says (*)
     \- TransientError                worth asking again after a pause
         |- InternalError             500
         |- LookupFailed              502
         |- TemporarilyUnavailable    503 and 429
         |- ServerFault               any other 5xx
         |- UnreadableBody            200, but no JSON; asked again once at most (*)
         \- TransportFailed           no answer: connection, timeout, reset
             \- UntrustedCertificate  not asked for again at once

    (*) both are a ContractViolation, which carries the body as it came

Statuses and codes: Social Fetch OpenAPI, 2026-09-16, and the vendor's error pages. The vendor asks
to branch on status and code, never on the message.
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
    "Place",
    "SchemaViolation",
    "ServerFault",
    "SocialFetchError",
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
class Place:
    """Which list and page, from 1, a request is for; all None for the free routes."""

    handle: str | None = None
    relation: Relation | None = None
    page: int | None = None


NOWHERE = Place()


class SocialFetchError(Exception):
    """Base of all errors here; `str()` says what happened, to which list, and what to do.

    `status` and `code` are None where no such answer came. `tries` is how many requests were sent
    in all, 0 when another list's error stopped this one before any; `unread` how many of them got
    a 200 that could not be read.
    """

    what = "Social Fetch gave an error"
    advice = "report it with the request id"

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        place: Place = NOWHERE,
    ) -> None:
        # Much of it is the vendor's text, and goes to terminals.
        message = one_line(message, MAX_MESSAGE)
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code and one_line(code, MAX_CODE)
        self.request_id = request_id and one_line(request_id, MAX_CODE)
        self.place = place
        self.tries = 1
        self.unread = 0

    def __str__(self) -> str:
        where = ""
        if self.place.handle is not None:
            where = f" for {self.place.relation} of @{self.place.handle}, page {self.place.page}"
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
            + (f": {self.message}" if self.message else "")
            + f"; {self.remedy()}."
        )

    def remedy(self) -> str:
        """What to do about it."""
        return self.advice

    def at(self: _Error, place: Place, *, tries: int) -> _Error:
        """A copy that names another list, which this error stopped too."""
        other = copy.copy(self)
        other.place, other.tries, other.unread = place, tries, 0
        return other


class PermanentError(SocialFetchError):
    """Asking again would give the same answer."""


class TransientError(SocialFetchError):
    """Worth asking again after a pause."""

    advice = "try again later"


class AccountError(PermanentError):
    """No other request may be made: each would fail alike."""


class Unauthorized(AccountError):
    """401: the key is missing, wrong or withdrawn."""

    what = "Social Fetch refused the API key"
    advice = "check the key, then run again; what was read before is kept"


class InsufficientCredits(AccountError):
    """402: no credits left, or no key was sent and payment per call is asked for."""

    what = "Social Fetch asks for credits"
    checkout_url: str | None = None

    def remedy(self) -> str:
        place = f" at {self.checkout_url}" if self.checkout_url else ""
        return f"top up{place} (or set a key, if none is set), then run again; nothing is lost"


class BadRequest(PermanentError):
    """400: the handle or a parameter is not valid."""

    what = "Social Fetch did not accept the request"
    advice = "check the handle"


class Forbidden(PermanentError):
    """403: the key may not do this."""

    what = "Social Fetch forbids this request"
    advice = "check what the key's account is allowed to read"


class UnknownRoute(PermanentError):
    """404: no such route (a missing account is a 200 with `not_found`)."""

    what = "Social Fetch does not know this route"
    advice = "check the base URL"


class UnexpectedStatus(PermanentError):
    """A status the contract does not name. Redirects are not followed, so they end here too."""

    what = "Social Fetch gave an answer that its contract does not name"
    advice = "check the base URL"


class InternalError(TransientError):
    """500: a fault of the vendor's, billing included."""

    what = "Social Fetch had an internal fault"


class LookupFailed(TransientError):
    """502: TikTok's answer could not be used."""

    what = "Social Fetch could not read the list"


class TemporarilyUnavailable(TransientError):
    """503 and 429: too much at once. `retry_after` is in seconds, None when not given."""

    what = "Social Fetch is busy"
    retry_after: float | None = None


class ServerFault(TransientError):
    """A 5xx the contract does not name, such as a gateway's 504."""

    what = "Social Fetch or a gateway before it failed"


class TransportFailed(TransientError):
    """No whole answer came."""

    what = "No whole answer came from Social Fetch"
    advice = "check the network and try again"


class UntrustedCertificate(TransportFailed):
    """The API's certificate, or that of a proxy before it, is not signed by anybody we trust.

    Not asked for again at once, because a pause does not change it.
    """

    what = "The certificate that came for Social Fetch is not trusted"
    advice = (
        "set SSL_CERT_FILE to the certificates of the authority that your network's proxy uses, "
        "or unset it where there is none"
    )


class ContractViolation(SocialFetchError):
    """A 200 whose body is not the contract. It was most likely charged.

    `reason` names the path and what was expected there; `body` is what came, as it came (up to
    64 KiB, the API key blotted out should it be echoed).
    """

    body: bytes = b""

    def keep(self, body: bytes) -> None:
        """Remember what came, up to `MAX_KEPT_BODY` bytes."""
        self.body = body[:MAX_KEPT_BODY]

    @property
    def reason(self) -> str:
        return self.message


class SchemaViolation(ContractViolation, PermanentError):
    """JSON, but not what the contract says. Not asked for again: each answer costs a credit."""

    what = "Social Fetch broke its contract"
    advice = "its API may have changed, look for a newer version of sf_assets"


class UnreadableBody(ContractViolation, TransientError):
    """No JSON: cut short, a gateway's HTML page, wrong encoding, or without end."""

    what = "Social Fetch's answer could not be read"


def error_for(
    status: int, body: bytes, *, retry_after: float | None, place: Place
) -> SocialFetchError:
    """The error that an answer other than 200 stands for."""
    detail = _detail(body)
    code = detail.code if detail else None
    error = _class_for(status, code)(
        detail.message if detail else "",
        status=status,
        code=code,
        request_id=detail.request_id if detail else None,
        place=place,
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
    """Gateways answer in HTML, or not at all: then the status alone decides."""
    try:
        return ErrorBody.model_validate_json(body).error
    except ValidationError:
        return None
