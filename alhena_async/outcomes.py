"""How an event ends, and what a reply says about it.

`classify` reads a reply the way the vendor's page allows: the shape of an error and its HTTP
status are not documented, so a documented code is looked for everywhere, and whatever is not
clearly the API's own answer is not taken for one.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

import attrs

from alhena_async import errors
from alhena_async._replies import ErrorCode, Reading, printable, read
from alhena_async.events import Event
from alhena_async.transports import Reply

__all__ = [
    "ErrorCode",
    "Outcome",
    "OutcomeStatus",
    "Verdict",
    "VerdictKind",
    "classify",
]


class OutcomeStatus(enum.StrEnum):
    """How an event ended. Every accepted event gets exactly one."""

    RECORDED = "recorded"
    """The API said success, or `ORDER_ALREADY_EXISTS` after an ambiguous attempt of our own."""
    DUPLICATE = "duplicate"
    """The order was recorded before; nothing is missing."""
    COALESCED = "coalesced"
    """Folded into another waiting event, and as good as that one."""
    UNATTRIBUTED = "unattributed"
    """The visitor has no conversation: the usual case, and no fault."""
    REJECTED = "rejected"
    """Refused for good."""
    EXPIRED = "expired"
    """Its delivery timeout or its attempts ran out."""
    UNKNOWN = "unknown"
    """Perhaps recorded, and it may not be repeated."""
    DROPPED = "dropped"
    """Given up by the overflow policy, `before_send` or `enabled=False`."""
    KEPT = "kept"
    """The client closed first; the journal has it for the next start."""
    ABANDONED = "abandoned"
    """The client closed, or its dispatcher failed, without a journal."""


@attrs.frozen(kw_only=True, weakref_slot=False)
class Outcome:
    """How one event ended, and how it came to that."""

    status: OutcomeStatus
    """What became of it."""
    event: Event
    """The event, as it was to be sent."""
    code: str | None = None
    """The code of the last attempt's reply, verbatim, if it had one."""
    http_status: int | None = None
    """The HTTP status of the last attempt's reply, if there was one."""
    attempts: int = 0
    """Requests made for it."""
    elapsed: float = 0.0
    """Seconds from acceptance to here."""
    ambiguous: bool = False
    """Some attempt may have been recorded without our learning of it."""
    detail: str | None = None
    """In words, what the status leaves open. May quote a reply's body."""
    survivor: Outcome | None = attrs.field(default=None, repr=False)
    """For COALESCED: how the event ended that it was folded into."""

    @property
    def ok(self) -> bool:
        """Whether nothing is missing at the API on this event's account."""
        if self.status is OutcomeStatus.COALESCED:
            return self.survivor is None or self.survivor.ok
        return self.status in _OK

    def raise_for_status(self) -> None:
        """Return quietly for `RECORDED` and for a `COALESCED` that is ok; else raise.

        Raises:
            DeliveryError: Its subclass for the status, and for a documented code that code's.
        """
        if self.status is OutcomeStatus.RECORDED or (
            self.status is OutcomeStatus.COALESCED and self.ok
        ):
            return
        raise self._error_class()(self)

    def explain(self) -> str:
        """Return one line for people: status, code and attempts, nothing of the payload."""
        if self.survivor is not None:
            return f"COALESCED into one that ended {self.survivor.explain()}"
        facts = [self.status.value.upper()]
        if self.code is not None:
            facts.append(printable(self.code))
        if self.http_status is not None:
            facts.append(f"HTTP {self.http_status}")
        facts.append(f"{self.attempts} attempt{'' if self.attempts == 1 else 's'}")
        return ", ".join(facts)

    def _error_class(self) -> type[errors.DeliveryError]:
        ending = self
        while ending.survivor is not None:  # what it was folded into may have folded on
            ending = ending.survivor
        if ending.status is OutcomeStatus.REJECTED:
            return _ERROR_OF_CODE.get(ending.code, errors.RejectedError)
        return _ERROR_OF_STATUS[ending.status]


_OK: Final = frozenset({OutcomeStatus.RECORDED, OutcomeStatus.DUPLICATE})
_ERROR_OF_STATUS: Final[Mapping[OutcomeStatus, type[errors.DeliveryError]]] = {
    OutcomeStatus.DUPLICATE: errors.OrderAlreadyExistsError,
    OutcomeStatus.UNATTRIBUTED: errors.ActiveTicketNotFoundError,
    OutcomeStatus.EXPIRED: errors.DeliveryExpiredError,
    OutcomeStatus.UNKNOWN: errors.DeliveryUnknownError,
    OutcomeStatus.DROPPED: errors.DeliveryDroppedError,
    OutcomeStatus.KEPT: errors.DeliveryAbandonedError,
    OutcomeStatus.ABANDONED: errors.DeliveryAbandonedError,
}
_ERROR_OF_CODE: Final[Mapping[str | None, type[errors.RejectedError]]] = {
    ErrorCode.MISSING_REQUIRED_FIELDS: errors.MissingRequiredFieldsError,
    ErrorCode.COMPANY_NOT_FOUND: errors.CompanyNotFoundError,
    ErrorCode.ACTIVE_TICKET_NOT_FOUND: errors.ActiveTicketNotFoundError,
    ErrorCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND: errors.PreviousItemAddedEventNotFoundError,
    ErrorCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND: (
        errors.PreviousQuantityIncreasedEventNotFoundError
    ),
    ErrorCode.ORDER_ALREADY_EXISTS: errors.OrderAlreadyExistsError,
}


class VerdictKind(enum.Enum):
    """What an attempt's end means for its event: whether another attempt can help."""

    RECORDED = "recorded"
    ORDER_EXISTS = "order exists"
    NO_TICKET = "no ticket"
    PRECONDITION = "precondition"
    """A `PREVIOUS_*` code: final, but another process may still hold the earlier event."""
    REFUSED = "refused"
    TRANSIENT = "transient"
    THROTTLED = "throttled"
    """Transient, and the API asks for less: 429 and 503."""

    def __init__(self, value: str) -> None:
        self.is_transient = value in {"transient", "throttled"}
        """Whether another attempt may end differently."""


@attrs.frozen(kw_only=True, weakref_slot=False)
class Verdict:
    """What one attempt's end means."""

    kind: VerdictKind
    code: str | None = None
    http_status: int | None = None
    ambiguous: bool = False
    """The attempt may have been recorded: no documented reply, and no 408, 425, 429 or 503."""
    retry_after: float | None = None
    """Seconds that the API asks for before the next request, 0 or more; only when throttled."""
    detail: str | None = None


_KIND_OF_CODE: Final[Mapping[str, VerdictKind]] = {
    ErrorCode.ORDER_ALREADY_EXISTS: VerdictKind.ORDER_EXISTS,
    ErrorCode.ACTIVE_TICKET_NOT_FOUND: VerdictKind.NO_TICKET,
    ErrorCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND: VerdictKind.PRECONDITION,
    ErrorCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND: VerdictKind.PRECONDITION,
}
_THROTTLING: Final = frozenset({429, 503})
_NOT_PROCESSED: Final = frozenset({408, 425, 429, 503})


def classify(reply: Reply, *, wall_time: float = 0.0) -> Verdict:
    """Say what a reply means. Never raises, whatever the bytes.

    A documented code is final in any envelope and at any status. Success is a 2xx with a JSON
    object that carries no code and no `status` other than `success`. An unknown code is kept
    verbatim, and its HTTP status decides: 408, 425, 429 and 5xx are transient. A redirect is
    final; a 2xx with anything else is not from the API, so transient.

    Args:
        reply: The reply.
        wall_time: Seconds since the epoch, for a `Retry-After` that names a date.
    """
    status = reply.status
    reading = read(reply.body, _header(reply.headers, "Content-Encoding"))
    if 200 <= status < 300:
        return _judge_success(status, reading)
    code = reading.code_in_field or reading.code_in_text
    if code is not None:
        return _documented(status, reading, code)
    if status in _NOT_PROCESSED or status >= 500:
        return _judge_transient(reply, reading, wall_time)
    detail = reading.excerpt or None
    if 300 <= status < 400:
        detail = "a redirect, which is never followed: check the region or the base URL"
    return Verdict(
        kind=VerdictKind.REFUSED, code=reading.unknown_code, http_status=status, detail=detail
    )


def _documented(status: int, reading: Reading, code: ErrorCode) -> Verdict:
    kind = _KIND_OF_CODE.get(code, VerdictKind.REFUSED)
    return Verdict(kind=kind, code=code, http_status=status, detail=reading.excerpt)


@lru_cache(maxsize=256)
def _judge_success(status: int, reading: Reading) -> Verdict:
    # Where success is said in so many words, a product's name that is echoed is no refusal.
    code = reading.code_in_field or (None if reading.says_success else reading.code_in_text)
    if code is not None:
        return _documented(status, reading, code)
    if reading.unknown_code is not None or (reading.may_be_success and reading.marks_error):
        return Verdict(
            kind=VerdictKind.REFUSED,
            code=reading.unknown_code,
            http_status=status,
            detail=reading.excerpt,
        )
    if reading.may_be_success:
        return Verdict(kind=VerdictKind.RECORDED, http_status=status)
    detail = f"HTTP {status}, but the body is not the API's: {reading.excerpt}"
    return Verdict(kind=VerdictKind.TRANSIENT, http_status=status, ambiguous=True, detail=detail)


def _judge_transient(reply: Reply, reading: Reading, wall_time: float) -> Verdict:
    throttled = reply.status in _THROTTLING
    return Verdict(
        kind=VerdictKind.THROTTLED if throttled else VerdictKind.TRANSIENT,
        code=reading.unknown_code,
        http_status=reply.status,
        ambiguous=reply.status not in _NOT_PROCESSED,
        retry_after=_retry_after(reply.headers, wall_time) if throttled else None,
        detail=reading.excerpt or f"HTTP {reply.status}",
    )


def _header(headers: Mapping[str, str], name: str) -> str:
    if name in headers:
        return str(headers[name])
    lowered = name.lower()
    for key in headers:  # every reply comes through here, and hardly one has what is asked for
        if len(key) == len(name) and key.lower() == lowered:
            return str(headers[key])
    return ""


_SECONDS: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)


def _retry_after(headers: Mapping[str, str], wall_time: float) -> float | None:
    """Read `Retry-After`, seconds or an HTTP date (RFC 9110, 10.2.3); None if it is neither.

    The RFC has whole seconds only; a server that sends fractions means them all the same.
    """
    given = _header(headers, "Retry-After").strip()
    if not given:
        return None
    if _SECONDS.fullmatch(given):
        return float(given[:12])
    try:
        date = parsedate_to_datetime(given)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.fromtimestamp(wall_time, UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError, IndexError, OSError):
        return None
