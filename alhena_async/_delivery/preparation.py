"""Makes an event ready to be accepted: the caller's filter, its company key, its order id."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Final

import attrs

from alhena_async.events import CartEvent, CheckoutEvent, Event
from alhena_async.policies import check_plain

__all__ = ["BeforeSend", "EventPreparer", "PreparedEvent", "checked_company_key", "not_an_event"]

BeforeSend = Callable[[Event], Event | None]
"""Returns the event, another one in its place, or None to drop it."""

# Not their children: one would be neither stored nor sent as what it is.
_EVENTS: Final = frozenset({CartEvent, CheckoutEvent})


@attrs.frozen
class PreparedEvent:
    """An event as it is to be sent."""

    event: Event
    order_id: str | None = None
    """What is sent as a checkout's order id: the caller's or an assigned one."""
    dropped: str | None = None
    """Why it is not to be sent at all."""
    warn_dropped: str | None = None
    """In words for the log, if the shop cannot have meant to drop it."""


class EventPreparer:
    """Decides what is sent of an event, in the caller's own frame.

    Args:
        before_send: The caller's filter.
        enabled: False drops everything.
        assign_order_ids: Give a checkout without an order id one of ours.
    """

    def __init__(
        self, *, before_send: BeforeSend | None, enabled: bool, assign_order_ids: bool
    ) -> None:
        if before_send is not None and not callable(before_send):
            raise TypeError("before_send must be callable")
        check_plain("before_send", before_send)
        self._before_send = before_send
        self._enabled = enabled
        self._assign_order_ids = assign_order_ids
        self.passes_carts = before_send is None and enabled
        """Whether a cart event goes through as it is: the hot path need not ask."""

    def prepare(self, event: Event, company_key: str | None) -> PreparedEvent:
        """Return an event as it is to be sent, or why it is dropped.

        Raises:
            TypeError: Not an event.
            ValueError: The company key is no non-empty text.
        """
        if event.__class__ not in _EVENTS:
            raise not_an_event(event)
        if company_key is not None:
            checked_company_key(company_key)
        if not self._enabled:
            return PreparedEvent(event, dropped="enabled=False")
        if self._before_send is not None:
            prepared = _filtered(self._before_send, event)
            if prepared.dropped is not None:
                return prepared
            event = prepared.event
        return PreparedEvent(event, self._order_id_for(event))

    def _order_id_for(self, event: Event) -> str | None:
        if isinstance(event, CartEvent):
            return None
        if event.order_id is None and self._assign_order_ids:
            return f"auto-{uuid.uuid4()}"
        return event.order_id


def not_an_event(event: object) -> TypeError:
    """Return the error of something that is no event."""
    return TypeError(f"expected CartEvent or CheckoutEvent, not {type(event).__name__}")


def checked_company_key(company_key: object) -> str:
    """Return a company key that can be sent.

    Raises:
        ValueError: It is no non-empty text that UTF-8 can carry, or holds more than a key: the
            end of its line, or the quotes around it.
    """
    if not isinstance(company_key, str) or not company_key.strip():
        raise ValueError("company_key must be non-empty text")
    if company_key != company_key.strip() or not company_key.isprintable():
        raise ValueError(
            "company_key must hold no control character, nor white space at its ends: "
            "was the end of its line read with it?"
        )
    if company_key[0] in _QUOTES or company_key[-1] in _QUOTES:
        raise ValueError(
            "company_key must not stand in quotes: was it copied with them, or read from a file of "
            "variables by something that keeps them (docker run --env-file)?"
        )
    try:
        company_key.encode()
    except UnicodeEncodeError:
        raise ValueError("company_key must be text that UTF-8 can carry") from None
    return company_key


_QUOTES: Final = frozenset("\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb")


def _filtered(before_send: BeforeSend, event: Event) -> PreparedEvent:
    try:
        amended: object = before_send(event)
    except Exception as error:  # noqa: BLE001  it may be a privacy filter: what it chokes on stays
        warn_dropped = f"before_send raised {type(error).__name__}"
        return PreparedEvent(event, dropped=f"{warn_dropped}: {error}", warn_dropped=warn_dropped)
    if amended is None:
        return PreparedEvent(event, dropped="before_send returned None")
    if isinstance(amended, CartEvent | CheckoutEvent) and amended.__class__ in _EVENTS:
        return PreparedEvent(amended)
    close = getattr(amended, "close", None)  # a coroutine would warn that nobody awaited it
    if callable(close):
        close()
    warn_dropped = f"before_send returned {type(amended).__name__}, no event"
    return PreparedEvent(event, dropped=warn_dropped, warn_dropped=warn_dropped)
