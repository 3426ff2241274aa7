"""Report cart and checkout events to Alhena from an asyncio service.

async with AlhenaClient("my-company", region="eu") as alhena:
    alhena.track_nowait(CartEvent(...))                 # background, microseconds
    outcome = await alhena.record(CheckoutEvent(...))   # now, with its outcome

`python -m alhena_async docs` lists the pages of the manual, and `docs start` prints the first.
"""

from typing import TYPE_CHECKING, Any

from alhena_async._context import current_client, current_visitor
from alhena_async._queue.envelope import Receipt
from alhena_async._version import __version__
from alhena_async.client import AlhenaClient, CloseReport
from alhena_async.errors import (
    ActiveTicketNotFoundError,
    AlhenaError,
    AlhenaTimeoutError,
    ClientClosedError,
    CompanyNotFoundError,
    DeliveryAbandonedError,
    DeliveryDroppedError,
    DeliveryError,
    DeliveryExpiredError,
    DeliveryUnknownError,
    InvalidEventError,
    JournalError,
    MissingRequiredFieldsError,
    OrderAlreadyExistsError,
    OutboxError,
    PreviousItemAddedEventNotFoundError,
    PreviousQuantityIncreasedEventNotFoundError,
    QueueFullError,
    RejectedError,
)
from alhena_async.events import CartEvent, CartEventType, CheckoutEvent, Event, LineItem, Visitor
from alhena_async.observers import BreakerState, Health, Instrument, Observer, Snapshot, Stats
from alhena_async.outcomes import ErrorCode, InvalidEvent, Outcome, OutcomeStatus
from alhena_async.policies import (
    BreakerPolicy,
    Coalescing,
    HttpPolicy,
    OrderIdField,
    Overflow,
    QueuePolicy,
    Region,
    RetryPolicy,
)
from alhena_async.transports import Endpoint, Reply, Transport, TransportError

if TYPE_CHECKING:
    from alhena_async.journal import SQLiteJournal

__all__ = [
    "ActiveTicketNotFoundError",
    "AlhenaClient",
    "AlhenaError",
    "AlhenaTimeoutError",
    "BreakerPolicy",
    "BreakerState",
    "CartEvent",
    "CartEventType",
    "CheckoutEvent",
    "ClientClosedError",
    "CloseReport",
    "Coalescing",
    "CompanyNotFoundError",
    "DeliveryAbandonedError",
    "DeliveryDroppedError",
    "DeliveryError",
    "DeliveryExpiredError",
    "DeliveryUnknownError",
    "Endpoint",
    "ErrorCode",
    "Event",
    "Health",
    "HttpPolicy",
    "Instrument",
    "InvalidEvent",
    "InvalidEventError",
    "JournalError",
    "LineItem",
    "MissingRequiredFieldsError",
    "Observer",
    "OrderAlreadyExistsError",
    "OrderIdField",
    "OutboxError",
    "Outcome",
    "OutcomeStatus",
    "Overflow",
    "PreviousItemAddedEventNotFoundError",
    "PreviousQuantityIncreasedEventNotFoundError",
    "QueueFullError",
    "QueuePolicy",
    "Receipt",
    "Region",
    "RejectedError",
    "Reply",
    "RetryPolicy",
    "SQLiteJournal",
    "Snapshot",
    "Stats",
    "Transport",
    "TransportError",
    "Visitor",
    "__version__",
    "current_client",
    "current_visitor",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "SQLiteJournal":  # who needs no journal loads no sqlite3
        from alhena_async.journal import SQLiteJournal  # noqa: PLC0415

        return SQLiteJournal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
