"""Every error that this package raises, as one tree.

AlhenaError
├── InvalidEventError (ValueError)      an event breaks a rule; raised where it is built
├── QueueFullError                      no room, and the overflow policy says reject
├── ClientClosedError                   the client accepts nothing more
├── JournalError                        the disk refused
├── OutboxError                         an outbox's database cannot be used
├── AlhenaTimeoutError (TimeoutError)   a call took longer than its timeout
└── DeliveryError                       an outcome that is not a success; carries `.outcome`
    ├── RejectedError                   a terminal refusal by the API
    │   ├── MissingRequiredFieldsError
    │   ├── CompanyNotFoundError
    │   ├── ActiveTicketNotFoundError
    │   ├── PreviousItemAddedEventNotFoundError
    │   ├── PreviousQuantityIncreasedEventNotFoundError
    │   └── OrderAlreadyExistsError
    ├── DeliveryExpiredError            its delivery timeout or its attempts ran out
    ├── DeliveryUnknownError            perhaps recorded, and may not be repeated
    ├── DeliveryDroppedError            given up by policy before it was sent
    └── DeliveryAbandonedError          the client closed first
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from alhena_async.outcomes import Outcome

__all__ = [
    "ActiveTicketNotFoundError",
    "AlhenaError",
    "AlhenaTimeoutError",
    "ClientClosedError",
    "CompanyNotFoundError",
    "DeliveryAbandonedError",
    "DeliveryDroppedError",
    "DeliveryError",
    "DeliveryExpiredError",
    "DeliveryUnknownError",
    "InvalidEventError",
    "JournalError",
    "MissingRequiredFieldsError",
    "OrderAlreadyExistsError",
    "OutboxError",
    "PreviousItemAddedEventNotFoundError",
    "PreviousQuantityIncreasedEventNotFoundError",
    "Problem",
    "QueueFullError",
    "RejectedError",
]

NOTHING_CHANGED: Final = "must differ from before: nothing changed, so there is no event"
"""The rule of `for_change` that is no mistake: `AlhenaClient.reporting` counts it as none."""


class AlhenaError(Exception):
    """The root: `except AlhenaError` catches all that this package raises on its own account."""


class Problem(NamedTuple):
    """One broken rule of an event."""

    field: str
    """The field's name, with its place for line items: `line_items[2].quantity`."""
    rule: str
    """What the field must be, and what to do about it. Few different ones: it may be counted by."""
    type: str
    """The name of the refused value's type."""


class InvalidEventError(AlhenaError, ValueError):
    """An event breaks rules of the API: which ones, where, and what to do about each.

    The message shows no value that may be personal: at most a currency, a type or a small quantity.

    Attributes:
        field: The first broken field's name, with its place for line items:
            `line_items[2].quantity`.
        rule: What that field must be, and what to do about it.
        value_type: The name of the refused value's type.
        problems: Every broken rule of the event, as `Problem(field, rule, type)`; the first one is
            told by the three attributes above as well.
    """

    def __init__(
        self,
        field: str,
        rule: str,
        value_type: str,
        *,
        subject: str = "",
        problems: Sequence[Problem] = (),
        shown: Sequence[str] = (),
        line_count: int | None = None,
    ) -> None:
        """Tell of one broken rule, or of all `problems` of an event.

        Args:
            field: The first broken field.
            rule: Its rule.
            value_type: The type of what was given for it.
            subject: What was to be built: `CartEvent`.
            problems: All that is wrong, the first included; none given: this one.
            shown: What is shown of the value of each, or nothing.
            line_count: How many line items there are, where that is known.
        """
        super().__init__(field, rule, value_type)
        self.field = field
        self.rule = rule
        self.value_type = value_type
        self.problems: tuple[Problem, ...] = tuple(problems) or (Problem(field, rule, value_type),)
        self.subject = subject
        self.shown: tuple[str, ...] = tuple(shown) or ("",) * len(self.problems)
        self.line_count = line_count

    @property
    def nothing_changed(self) -> bool:
        """Whether it only says that there is no event, as `before` equals `after`."""
        return all(problem.rule == NOTHING_CHANGED for problem in self.problems)

    @property
    def without_values(self) -> str:
        """The message for a log: nothing of what was given is in it."""
        return _joined([self._told(problem, "") for problem in self.problems])

    def __str__(self) -> str:
        return _joined(list(map(self._told, self.problems, self.shown)))

    def _told(self, problem: Problem, shown: str) -> str:
        field, rule, kind = problem
        rule = f"{shown} {rule}" if shown else rule
        if not self.subject:
            return f"{field} {rule} (got {kind})"
        if not field:
            return f"{self.subject} {rule}, not {kind}"
        line = _LINE.fullmatch(field)
        if line is None:
            return f"{self.subject}.{field} {rule}"
        number = int(line["place"]) + 1
        if line["list"] != "line_items":
            place = f"line {number} of {line['list']}"
        elif self.line_count is None:
            place = f"LineItem {number}"
        else:
            place = f"LineItem {number} of {self.line_count}"
        return f"{place}: {line['field']} {rule}" if line["field"] else f"{place} {rule}"


def _joined(sentences: list[str]) -> str:
    if len(sentences) == 1:
        return sentences[0]
    return f"{len(sentences)} problems: {'; '.join(sentences)}"


_LINE: Final = re.compile(r"(?P<list>\w+)\[(?P<place>\d+)\]\.?(?P<field>.*)")


def merged(
    errors: Iterable[InvalidEventError],
    *,
    subject: str | None = None,
    line_count: int | None = None,
) -> InvalidEventError:
    """Return one error that tells what all of them tell.

    Args:
        errors: At least one.
        subject: What was to be built; None: what the first one says.
        line_count: How many line items there are, where none of them knows.
    """
    errors = list(errors)
    problems = [problem for error in errors for problem in error.problems]
    counts = (error.line_count for error in errors if error.line_count is not None)
    return InvalidEventError(
        *problems[0],
        subject=errors[0].subject if subject is None else subject,
        problems=problems,
        shown=[shown for error in errors for shown in error.shown],
        line_count=next(counts, line_count),
    )


def placed(place: str, error: InvalidEventError, subject: str) -> InvalidEventError:
    """Return the error of a line under the line's place in what the subject is given."""
    problems = [Problem(f"{place}.{field}", *rest) for field, *rest in error.problems]
    return InvalidEventError(*problems[0], subject=subject, problems=problems, shown=error.shown)


def renamed(error: InvalidEventError, names: Mapping[str, str]) -> InvalidEventError:
    """Return the error with other names for its fields, where `names` has one."""
    problems = [
        problem._replace(field=names.get(problem.field, problem.field))
        for problem in error.problems
    ]
    return InvalidEventError(*problems[0], problems=problems, shown=error.shown)


class QueueFullError(AlhenaError):
    """No room for the event, and nothing of it was kept.

    Attributes:
        capacity: How many events the queue holds, queued and in flight together; if `lane` is set,
            how many events of one visitor may wait.
        reserved: How many of them are kept for checkouts, where it was a cart event.
        large: How many events' room large events take beside their own.
        lane: Whether it is only this visitor's lane that is full.
    """

    def __init__(
        self, capacity: int, *, reserved: int = 0, large: int = 0, lane: bool = False
    ) -> None:
        super().__init__(capacity)
        self.capacity = capacity
        self.reserved = reserved
        self.large = large
        self.lane = lane

    def __str__(self) -> str:
        if self.lane:
            return (
                f"the visitor's lane is full ({self.capacity} of its events wait): await track() "
                "to wait for room, raise QueuePolicy.lane_capacity, or choose another "
                "QueuePolicy.overflow"
            )
        kept = f", {self.reserved} of them kept for checkouts" if self.reserved else ""
        large = f", large ones taking the room of {self.large} more" if self.large else ""
        setting = "capacity_bytes" if self.large else "capacity"
        return (
            f"the queue is full ({self.capacity} events{kept}{large}): await track() to wait for "
            f"room, raise QueuePolicy.{setting}, or choose another QueuePolicy.overflow"
        )


class ClientClosedError(AlhenaError):
    """The client was closed, or its dispatcher failed (then `__cause__` says why)."""


class JournalError(AlhenaError):
    """The journal could not do what was asked; the message names the path and what to do."""


class OutboxError(AlhenaError):
    """An outbox's database cannot be used; the message names it and what to do."""


class AlhenaTimeoutError(AlhenaError, TimeoutError):
    """`track`, `record` or `flush` took longer than its timeout; the message says what remains.

    Attributes:
        accepted: Whether the event was accepted and goes on its way all the same: do not track it
            again. False: there was no room in time, and nothing of it was kept.
    """

    def __init__(self, message: str, *, accepted: bool = True) -> None:
        super().__init__(message)
        self.accepted = accepted


class DeliveryError(AlhenaError):
    """An event did not end as a success.

    Attributes:
        outcome: All that is known about how it ended.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome

    def __str__(self) -> str:
        return self.outcome.explain()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"  # the outcome would show event and reply


class RejectedError(DeliveryError):
    """The API refused the event for good."""


class MissingRequiredFieldsError(RejectedError):
    """`MISSING_REQUIRED_FIELDS`."""


class CompanyNotFoundError(RejectedError):
    """`COMPANY_NOT_FOUND`: check the company key, and that the region is the organisation's."""


class ActiveTicketNotFoundError(RejectedError):
    """`ACTIVE_TICKET_NOT_FOUND`: the visitor never used the chat. The usual case."""


class PreviousItemAddedEventNotFoundError(RejectedError):
    """`PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND`: the product was never added, as the API knows it."""


class PreviousQuantityIncreasedEventNotFoundError(RejectedError):
    """`PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND`: it was never increased before."""


class OrderAlreadyExistsError(RejectedError):
    """`ORDER_ALREADY_EXISTS`: the order is recorded already, so nothing is missing."""


class DeliveryExpiredError(DeliveryError):
    """Its delivery timeout or its attempts ran out; the outcome's `detail` says which."""


class DeliveryUnknownError(DeliveryError):
    """An attempt may have been recorded, and the event may not be repeated."""


class DeliveryDroppedError(DeliveryError):
    """The overflow policy, `before_send` or `enabled=False` gave the event up."""


class DeliveryAbandonedError(DeliveryError):
    """The client closed, or its dispatcher failed, before the event was settled."""
