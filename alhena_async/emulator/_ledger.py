"""What the emulated shop's account holds: tickets, orders, carts, revenue; and what it refuses.

Pure and synchronous: `judge` looks, `record` changes. What must stay exact for ever (orders,
preconditions, carts) grows with the number of distinct orders, visitors and products.
"""

from __future__ import annotations

import time
from collections import Counter
from decimal import Context, Decimal, Inexact
from enum import Enum, StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from attrs import frozen

from alhena_async.emulator._contract import (
    Cart,
    CartType,
    Checkout,
    Event,
    EventKind,
    Refusal,
    RefusalCode,
    Visitor,
)
from alhena_async.emulator._records import History, Recorded, Refused, Series, glimpse, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from alhena_async.emulator._faults import FaultKind


# Numbers reach 480 digits before the point and 400 after it: 1,000 digits sum a year of them
# exactly, and the trap turns the impossible rest into an error instead of a wrong cent.
_EXACT = Context(prec=1_000, traps=[Inexact])


class Preconditions(StrEnum):
    """How cart events are held against earlier ones of the same company, visitor and product.

    A removal resets nothing: once added, a product counts as added.
    """

    OFF = "off"
    """No check."""
    LENIENT = "lenient"
    """Any type but ITEM_ADDED needs an earlier ITEM_ADDED."""
    STRICT = "strict"
    """As lenient, and QUANTITY_DECREASED needs an earlier QUANTITY_INCREASED as well."""


PreconditionsName = Literal["off", "lenient", "strict"]


class Tickets(StrEnum):
    """Which visitors have an active ticket."""

    ALL = "all"
    OPENED = "opened"


TicketsName = Literal["all", "opened"]


class CartKey(NamedTuple):
    """One line of one visitor's cart; equals a plain `(company_key, (fp, faq_fp), product_id)`."""

    company_key: str
    visitor: Visitor
    product_id: str


@frozen(kw_only=True)
class CartLine:
    """What a visitor's cart holds of one product now."""

    product_name: str
    quantity: Decimal
    value: Decimal
    currency: str


class _Seen(Enum):
    """What was recorded before for a cart line."""

    ADDED = "added"
    INCREASED = "increased"


class Ledger:
    """The account's state.

    Args:
        companies: Known company keys; None: every non-empty key is known.
        tickets: Which visitors have a ticket.
        preconditions: How cart events are held against earlier ones.
    """

    def __init__(
        self,
        *,
        companies: Collection[str] | None = None,
        tickets: Tickets = Tickets.ALL,
        preconditions: Preconditions = Preconditions.OFF,
    ) -> None:
        self._companies = None if companies is None else frozenset(companies)
        self._tickets = tickets
        self._preconditions = preconditions
        self._opened: set[Visitor] = set()
        self.clear()

    def clear(self) -> None:
        """Forget everything recorded; open tickets stay open."""
        self._orders: set[tuple[str, str]] = set()
        self._seen: dict[_Seen, set[CartKey]] = {seen: set() for seen in _Seen}
        self._carts: dict[CartKey, CartLine] = {}
        self._revenue: dict[str, Decimal] = {}

    @property
    def revenue(self) -> dict[str, Decimal]:
        """Totals of the recorded checkouts, exact, by currency."""
        return dict(self._revenue)

    @property
    def carts(self) -> dict[CartKey, Decimal]:
        """Quantity of every product that stands in a cart now."""
        return {key: line.quantity for key, line in self._carts.items()}

    @property
    def cart_count(self) -> int:
        """How many cart lines there are now."""
        return len(self._carts)

    @property
    def ticket_count(self) -> int:
        """How many visitors had a ticket opened."""
        return len(self._opened)

    def latest_carts(self, limit: int) -> Iterator[tuple[CartKey, CartLine]]:
        """Return the cart lines that changed last, newest first."""
        return islice(reversed(self._carts.items()), limit)

    def open_ticket(self, visitor: Visitor) -> None:
        """Give the visitor an active ticket, at every company."""
        self._opened.add(visitor)

    def close_ticket(self, visitor: Visitor) -> None:
        """Take the visitor's ticket away; no effect without one."""
        self._opened.discard(visitor)

    def judge(self, event: Event) -> Refusal | None:
        """Return why the event may not be recorded now; None when it may. Changes nothing."""
        if self._companies is not None and event.company_key not in self._companies:
            return Refusal(RefusalCode.COMPANY_NOT_FOUND, "no such company_key")
        if self._tickets is Tickets.OPENED and event.visitor not in self._opened:
            return Refusal(
                RefusalCode.ACTIVE_TICKET_NOT_FOUND,
                "this visitor has not talked to the chat widget or the Product FAQs",
            )
        if isinstance(event, Cart):
            return self._judge_cart(event)
        return self._judge_checkout(event)

    def record(self, event: Event) -> None:
        """Take the event into the account; the caller has judged it."""
        if isinstance(event, Cart):
            self._record_cart(event)
        else:
            self._record_checkout(event)

    def _judge_cart(self, event: Cart) -> Refusal | None:
        if self._preconditions is Preconditions.OFF or event.type is CartType.ITEM_ADDED:
            return None
        key = _key(event)
        if key not in self._seen[_Seen.ADDED]:
            return Refusal(
                RefusalCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND,
                f"{event.type} without an earlier ITEM_ADDED of this visitor and product",
            )
        strict_decrease = (
            self._preconditions is Preconditions.STRICT
            and event.type is CartType.QUANTITY_DECREASED
        )
        if strict_decrease and key not in self._seen[_Seen.INCREASED]:
            return Refusal(
                RefusalCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND,
                f"{event.type} without an earlier QUANTITY_INCREASED of this visitor and product",
            )
        return None

    def _judge_checkout(self, event: Checkout) -> Refusal | None:
        if event.order_id is None or (event.company_key, event.order_id) not in self._orders:
            return None
        return Refusal(RefusalCode.ORDER_ALREADY_EXISTS, "this order id was recorded before")

    def _record_cart(self, event: Cart) -> None:
        key = _key(event)
        if event.type is CartType.ITEM_ADDED:
            self._seen[_Seen.ADDED].add(key)
        elif event.type is CartType.QUANTITY_INCREASED:
            self._seen[_Seen.INCREASED].add(key)
        # Taken out and put back, so that the dict's order is the order of the last change.
        self._carts.pop(key, None)
        if event.type is not CartType.ITEM_REMOVED and event.quantity > 0:
            self._carts[key] = CartLine(
                product_name=event.product_name,
                quantity=event.quantity,
                value=event.value,
                currency=event.currency,
            )

    def _record_checkout(self, event: Checkout) -> None:
        if event.order_id is not None:
            self._orders.add((event.company_key, event.order_id))
        before = self._revenue.get(event.currency, Decimal(0))
        self._revenue[event.currency] = _EXACT.add(before, event.value)
        for line in event.lines:
            # What was bought has left the cart, whether or not the shop says so with a removal.
            self._carts.pop(CartKey(event.company_key, event.visitor, line.product_id), None)


def _key(event: Cart) -> CartKey:
    return CartKey(event.company_key, event.visitor, event.product_id)


STATUSES: Mapping[str, int] = {
    RefusalCode.MISSING_REQUIRED_FIELDS: 400,
    RefusalCode.COMPANY_NOT_FOUND: 404,
    RefusalCode.ACTIVE_TICKET_NOT_FOUND: 404,
    RefusalCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND: 409,
    RefusalCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND: 409,
    RefusalCode.ORDER_ALREADY_EXISTS: 409,
}
"""The HTTP status of each refusal. Not documented by the vendor: our choice."""


class Store:
    """The account, the history, and counts that go on past the history's bound.

    Args:
        ledger: The account.
        history: How many recorded and how many refused events are kept.
        statuses: HTTP statuses that replace those of `STATUSES`.
        on_change: Called after every change, synchronously; must be quick and not raise.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        history: int,
        statuses: Mapping[str, int],
        on_change: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.recorded: History[Recorded] = History(history)
        self.refused: History[Refused] = History(history)
        self._statuses = {**STATUSES, **statuses}
        self._on_change = on_change
        self.epoch = 0
        """Grows with each `clear`, so that a page knows that its list is void."""
        self._zero()

    def _zero(self) -> None:
        self.seq = 0
        self.requests = 0
        self.recorded_counts: Counter[EventKind] = Counter()
        self.refused_counts: Counter[str] = Counter()
        self.fault_counts: Counter[FaultKind] = Counter()
        self.series = Series()

    def clear(self) -> None:
        """Forget every event and count; open tickets stay open."""
        self.ledger.clear()
        self.recorded.clear()
        self.refused.clear()
        self._zero()
        self.epoch += 1
        self._on_change()

    def open_ticket(self, visitor: Visitor) -> None:
        """Give the visitor an active ticket, at every company."""
        self.ledger.open_ticket(visitor)
        self._on_change()

    def close_ticket(self, visitor: Visitor) -> None:
        """Take the visitor's ticket away; no effect without one."""
        self.ledger.close_ticket(visitor)
        self._on_change()

    def count_request(self) -> None:
        """Count a POST at one of the two endpoints, whatever becomes of it."""
        self.requests += 1
        self._on_change()

    def count_fault(self, kind: FaultKind) -> None:
        """Count a fault that is played."""
        self.fault_counts[kind] += 1
        self._on_change()

    def settle(self, kind: EventKind, raw: bytes, reading: Event | Refusal) -> Recorded | Refused:
        """Judge an event by the contract and take it into the account, or refuse it.

        Args:
            kind: The endpoint it came to.
            raw: The body.
            reading: What `read_event` made of the body.
        """
        if isinstance(reading, Refusal):
            return self._refuse(kind, reading, raw)
        refusal = self.ledger.judge(reading)
        if refusal is not None:
            return self._refuse(kind, refusal, raw)
        self.ledger.record(reading)
        record = recorded(reading, raw, seq=self._next(), at=time.time())
        self.recorded.append(record)
        self.recorded_counts[kind] += 1
        self.series.add(record.at, refused=False)
        self._on_change()
        return record

    def refuse(
        self, kind: EventKind, code: str, http_status: int, message: str, raw: bytes = b""
    ) -> Refused:
        """Note a refusal."""
        record = Refused(
            seq=self._next(),
            at=time.time(),
            kind=kind,
            code=str(code),
            http_status=http_status,
            message=message,
            raw=raw,
            **glimpse(raw),
        )
        self.refused.append(record)
        self.refused_counts[record.code] += 1
        self.series.add(record.at, refused=True)
        self._on_change()
        return record

    def _refuse(self, kind: EventKind, why: Refusal, raw: bytes) -> Refused:
        return self.refuse(kind, why.code, self._statuses[why.code], why.message, raw)

    def _next(self) -> int:
        self.seq += 1
        return self.seq
