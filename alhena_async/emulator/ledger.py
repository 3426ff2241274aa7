"""What the emulated shop's account holds: tickets, orders, carts, revenue; and what it refuses.

Pure and synchronous: `judge` looks, `record` changes. What must stay exact for ever (orders,
preconditions, carts) grows with the number of distinct orders, visitors and products.
"""

from __future__ import annotations

from decimal import Context, Decimal, Inexact
from enum import Enum, StrEnum
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from alhena_async.emulator.contract import (
    Cart,
    CartType,
    Checkout,
    Event,
    Refusal,
    RefusalCode,
    Visitor,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Numbers reach 60 digits on either side of the point: 200 digits sum a year of them exactly, and
# the trap turns the impossible rest into an error instead of a wrong cent.
_EXACT = Context(prec=200, traps=[Inexact])


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


class Tickets(StrEnum):
    """Which visitors have an active ticket."""

    ALL = "all"
    OPENED = "opened"


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
        """The cart lines that changed last, newest first."""
        return islice(reversed(self._carts.items()), limit)

    def open_ticket(self, visitor: Visitor) -> None:
        """Give the visitor an active ticket, at every company."""
        self._opened.add(visitor)

    def close_ticket(self, visitor: Visitor) -> None:
        """Take the visitor's ticket away; no effect without one."""
        self._opened.discard(visitor)

    def judge(self, event: Event) -> Refusal | None:
        """Say why the event may not be recorded now; None when it may. Changes nothing."""
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
