"""Every error that this package raises, as one tree.

AlhenaError
├── InvalidEventError (ValueError)      an event breaks a rule; raised where it is built
├── QueueFullError                      no room, and the overflow policy says reject
├── ClientClosedError                   the client accepts nothing more
├── JournalError                        the disk refused
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

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alhena_async.outcomes import Outcome

__all__ = [
    "ActiveTicketNotFoundError",
    "AlhenaError",
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
    "PreviousItemAddedEventNotFoundError",
    "PreviousQuantityIncreasedEventNotFoundError",
    "QueueFullError",
    "RejectedError",
]


class AlhenaError(Exception):
    """The root: `except AlhenaError` catches all that this package raises on its own account."""


class InvalidEventError(AlhenaError, ValueError):
    """An event breaks a rule of the API. The message never holds the refused value.

    Attributes:
        field: The field's name, with its place for line items: `line_items[2].quantity`.
        rule: What the field must be.
        value_type: The name of the refused value's type.
    """

    def __init__(self, field: str, rule: str, value_type: str) -> None:
        super().__init__(field, rule, value_type)
        self.field = field
        self.rule = rule
        self.value_type = value_type

    def __str__(self) -> str:
        return f"{self.field} {self.rule} (got {self.value_type})"


class QueueFullError(AlhenaError):
    """No room for the event, and nothing of it was kept.

    Attributes:
        capacity: How many events the queue holds, queued and in flight together.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.capacity = capacity

    def __str__(self) -> str:
        return (
            f"the queue is full ({self.capacity} events): await track() to wait for room, "
            "raise QueuePolicy.capacity, or choose another QueuePolicy.overflow"
        )


class ClientClosedError(AlhenaError):
    """The client was closed, or its dispatcher failed (then `__cause__` says why)."""


class JournalError(AlhenaError):
    """The journal could not do what was asked; the message names the path and what to do."""


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
