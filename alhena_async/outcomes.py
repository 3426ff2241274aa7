"""How an event ends: its status, the API's code if there is one, and what both mean.

How a reply is read is in `_replies.py`, what follows from it in `_delivery/attempts.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NoReturn

import attrs

from alhena_async import errors
from alhena_async.events import Event

__all__ = [
    "ErrorCode",
    "InvalidEvent",
    "Outcome",
    "OutcomeStatus",
    "documented",
    "printable",
]


class ErrorCode(enum.StrEnum):
    """The codes that the vendor documents. Each one is final."""

    MISSING_REQUIRED_FIELDS = "MISSING_REQUIRED_FIELDS"
    COMPANY_NOT_FOUND = "COMPANY_NOT_FOUND"
    ACTIVE_TICKET_NOT_FOUND = "ACTIVE_TICKET_NOT_FOUND"
    PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND = "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"
    PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND = "PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND"
    ORDER_ALREADY_EXISTS = "ORDER_ALREADY_EXISTS"


def documented(code: str) -> str:
    """Return a code that may be shown anywhere: `other` for one that might quote an event."""
    return code if code in ErrorCode.__members__ else "other"


def printable(text: str) -> str:
    """Return text that UTF-8 can carry and a terminal may show."""
    cleaned = "".join(letter if letter.isprintable() else " " for letter in text)
    return cleaned.encode("utf-8", "replace").decode()


class OutcomeStatus(enum.StrEnum):
    """How an event ended. Every accepted event gets exactly one."""

    RECORDED = "recorded"
    """The API said success, or `ORDER_ALREADY_EXISTS` after an ambiguous attempt of our own."""
    PUBLISHED = "published"
    """A publisher's broker has it durably; a relay delivers it."""
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
    """How one event ended, and how it came to that.

    Attributes:
        status: What became of it.
        event: The event, as it was to be sent.
        code: The code of the last attempt's reply, verbatim, if it had one. Default None.
        http_status: The HTTP status of the last attempt's reply, if there was one. Default None.
        attempts: Requests made for it. Default 0.
        elapsed: Seconds from acceptance to here. Default 0.
        ambiguous: Some attempt may have been recorded without our learning of it. Default False.
        detail: In words, what the status leaves open. May quote a reply's body. Default None.
        survivor: For COALESCED: how the event ended that it was folded into. Default None.
    """

    status: OutcomeStatus
    event: Event
    code: str | None = None
    http_status: int | None = None
    attempts: int = 0
    elapsed: float = 0.0
    ambiguous: bool = False
    detail: str | None = None
    survivor: Outcome | None = attrs.field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing on this event's account at the API, or at the broker."""
        if self.status is OutcomeStatus.COALESCED:
            return self.survivor is None or self.survivor.ok
        return self.status in _OK

    def raise_for_status(self) -> None:
        """Return quietly for `RECORDED`, `PUBLISHED` and an ok `COALESCED`; otherwise raise.

        Raises:
            DeliveryError: Its subclass for the status, and for a documented code that code's.
        """
        if self.status in _ARRIVED or (self.status is OutcomeStatus.COALESCED and self.ok):
            return
        raise self._error_class()(self)

    def explain(self) -> str:
        """Return one line for people: status, code and attempts.

        Nothing of the payload, and nothing that a server said but a documented code: a reply may
        echo the event. An undocumented code is in `code` alone.
        """
        if self.survivor is not None:
            return f"COALESCED into one that ended {self.survivor.explain()}"
        facts = [self.status.value.upper()]
        if self.code is not None:
            documented = self.code in ErrorCode.__members__
            facts.append(self.code if documented else "an undocumented code")
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


@attrs.frozen(kw_only=True, weakref_slot=False)
class InvalidEvent:
    """A row that makes no event: `record_all(rows, make=...)` yields it in its outcome's place.

    Attributes:
        number: The row's number, from 1.
        error: What is wrong with it. Where `make` raised anything else than an
            `InvalidEventError`, that is its `__cause__`.
    """

    number: int
    error: errors.InvalidEventError

    @property
    def ok(self) -> bool:
        """False: nothing was sent."""
        return False

    def raise_for_status(self) -> NoReturn:
        """Raise the error."""
        raise self.error

    def explain(self) -> str:
        """Return one line for people: the row and the rules that it breaks, nothing of the row."""
        return f"INVALID, row {self.number}: {self.error.without_values}"


_ARRIVED: Final = frozenset({OutcomeStatus.RECORDED, OutcomeStatus.PUBLISHED})

_OK: Final = _ARRIVED | {OutcomeStatus.DUPLICATE}

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
