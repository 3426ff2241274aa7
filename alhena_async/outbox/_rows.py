"""Makes the row of an event: what is sent of it, its lane, and its message as relays read it."""

from __future__ import annotations

import time

import attrs

from alhena_async._delivery.preparation import BeforeSend, EventPreparer, checked_company_key
from alhena_async._telemetry.logbook import Logbook
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async._wire import lane_digest
from alhena_async.events import Event
from alhena_async.relay._message import Message, encode, in_ascii, indexed

__all__ = ["Made", "Row", "RowMaker"]


@attrs.frozen
class Row:
    """What is written of an event."""

    lane: int
    """The visitor's lane: 63 bits, 0 or more."""
    company_key: str = attrs.field(repr=False)
    order_id: str | None = attrs.field(repr=False)
    """What tells an order from another: its id, or of a long or odd one a digest."""
    body: str = attrs.field(repr=False)
    """The message, in ASCII."""


@attrs.frozen(kw_only=True)
class Made:
    """An event as it is to be written, or why it is not."""

    row: Row | None
    order_id: str | None = None
    """What is sent as a checkout's order id: the caller's or an assigned one."""
    dropped: str | None = None


class RowMaker:
    """Prepares events as a client does, in the caller's frame; holds no connection and no loop.

    Args:
        company_key: The organisation's public key.
        before_send: The caller's filter.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(self, company_key: str, before_send: BeforeSend | None) -> None:
        self._company_key = checked_company_key(company_key)
        self._preparer = EventPreparer(before_send=before_send, enabled=True, assign_order_ids=True)
        self.telemetry = Telemetry((), logbook=Logbook())

    def make(self, event: Event, company_key: str | None) -> Made:
        """Return the row of an event.

        Raises:
            TypeError: Not an event.
            ValueError: The company key is no non-empty text.
        """
        prepared = self._preparer.prepare(event, company_key)
        if prepared.dropped is not None:
            if prepared.warn_dropped is not None:
                self.telemetry.warn_dropped(prepared.warn_dropped)
            return Made(row=None, dropped=prepared.dropped)
        key = self._company_key if company_key is None else company_key
        order_id = prepared.order_id
        message = Message(
            company_key=key, order_id=order_id, accepted_at=time.time(), event=prepared.event
        )
        return Made(
            row=Row(
                lane=lane_digest(prepared.event.visitor, key),
                company_key=indexed(key),
                order_id=None if order_id is None else indexed(order_id),
                body=in_ascii(encode(message)),
            ),
            order_id=order_id,
        )
