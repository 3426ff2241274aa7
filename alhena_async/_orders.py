"""The order ids that this client recorded lately: what is known to be there needs no request."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from alhena_async.events import CheckoutEvent, Event

__all__ = ["RecentOrders"]

_BOUND: Final = 10_000  # ids remembered; the API is the judge past that


class RecentOrders:
    """Callers' order ids by company key, the latest of them."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def remember(self, event: Event, company_key: str) -> None:
        """The event was recorded; only a checkout with an order id leaves a trace."""
        if isinstance(event, CheckoutEvent) and event.order_id is not None:
            self._known[company_key, event.order_id] = None
            if len(self._known) > _BOUND:
                self._known.popitem(last=False)

    def has(self, event: Event, company_key: str) -> bool:
        """Return whether the event is a checkout that was recorded lately."""
        return isinstance(event, CheckoutEvent) and (company_key, event.order_id) in self._known
