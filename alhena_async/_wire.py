"""Event <-> bytes: what a request carries, and the form in which events are stored.

The stored form of an event is the vendor's payload without `company_key`: flat, in the API's
own field names (`_stored.py`). A request adds the key, and names the order id as the policy says.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from alhena_async._json import dumps
from alhena_async._stored import STRUCTURE, UNSTRUCTURE
from alhena_async.events import CartEvent, CheckoutEvent, Event, Visitor
from alhena_async.policies import OrderIdField
from alhena_async.transports import Endpoint

__all__ = [
    "endpoint_of",
    "lane_digest",
    "request_body",
    "structure_event",
    "unstructure_event",
]


# As in _queue/envelope.py: a member is slow to look up in Python 3.11.
_CART: Final = Endpoint.CART

_CHECKOUT: Final = Endpoint.CHECKOUT


def endpoint_of(event: Event) -> Endpoint:
    """Return where an event is sent."""
    return _CART if event.__class__ is CartEvent else _CHECKOUT


def lane_digest(visitor: Visitor, company_key: str) -> int:
    """Return the number that stands for a lane where its key is not wanted: 63 bits, stable.

    No fingerprint can be read off it. Two lanes that shared one would merely wait for each other.
    """
    key = dumps([visitor.fingerprint, visitor.faq_fingerprint, company_key])
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1


def request_body(
    event: Event, *, company_key: str, order_id: str | None, order_id_field: OrderIdField
) -> bytes:
    """Return the JSON that a request carries.

    Args:
        event: What to send.
        company_key: The organisation's key, first in the payload.
        order_id: The caller's or the assigned one, for a checkout; None sends none.
        order_id_field: Under which name or names it is sent.
    """
    payload = {"company_key": company_key, **UNSTRUCTURE[event.__class__](event)}
    if event.__class__ is not CartEvent:
        own = payload.pop("order_id", None)  # taken out even when given: the policy names the field
        given = own if order_id is None else order_id
        if given is not None:
            payload |= dict.fromkeys(_ORDER_ID_NAMES[order_id_field], given)
    return dumps(payload)


_ORDER_ID_NAMES: Final = {
    OrderIdField.BOTH: ("orderId", "order_id"),
    OrderIdField.CAMEL: ("orderId",),
    OrderIdField.SNAKE: ("order_id",),
}


def unstructure_event(event: Event) -> dict[str, Any]:
    """Return an event's stored form: a flat dict of JSON values and `Decimal`."""
    return UNSTRUCTURE[event.__class__](event)


def structure_event(stored: dict[str, Any]) -> Event:
    """Return the event of a stored form; one with `line_items` is a checkout.

    Fields that an event does not have are passed over: a newer version may have written them.

    Raises:
        InvalidEventError: A field is missing or breaks its rule, or the form is none at all.
    """
    kind = CheckoutEvent if "line_items" in stored else CartEvent
    event: Event = STRUCTURE[kind](stored)
    return event
