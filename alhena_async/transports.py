"""The seam to the network: what an attempt sends, what comes back, and who carries it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, Literal, Protocol

import attrs

__all__ = ["CANCELLED_UNSENT", "Endpoint", "Reply", "Transport", "TransportError", "Wire"]


class Endpoint(enum.StrEnum):
    """The API's two endpoints, as paths below the base URL."""

    CART = "analytics/cart_events"
    CHECKOUT = "analytics/checkout_events"


@attrs.frozen
class Reply:
    """What an attempt got back. The body may be cut at `HttpPolicy.max_reply_bytes`."""

    status: int
    """The HTTP status."""
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Looked up by the spelling `Retry-After`; a case-insensitive mapping serves best."""
    broke_off: bool = False
    """The connection was lost before the body's end: `body` is what came of it."""
    was_repeated: bool = False
    """The request was sent twice, as the first went out on a connection that the server had perhaps
    given up; whether it was read there is not known."""


class TransportError(Exception):
    """An attempt got no reply.

    Args:
        message: What happened, without any of the request in it.
        sent: Whether the request may have reached the API. False only where it certainly did
            not, for instance because no connection came about.
        is_local: Whether it is this machine's doing, such as a connector without a free place, and
            shows nothing of the API.
    """

    def __init__(self, message: str, *, sent: bool = True, is_local: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.is_local = is_local


CANCELLED_UNSENT: Final = "cancelled before anything was sent"
"""A note (`add_note`) on a cancellation that reaches a transport before it has written anything.

One with this note leaves no doubt whether the event was recorded. Without it, there is doubt.
"""


Wire = Literal["short", "session"]
"""How requests travel: over aiohttp's connections, or through its session."""


class Transport(Protocol):
    """Carries requests. The client opens it once, sends through it, and closes it once."""

    async def open(self) -> None:
        """Get ready, on the event loop that will be used."""

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        """POST one JSON body and return the reply, whatever its status.

        The caller bounds the time by cancelling. Calls run side by side. A cancellation that comes
        before anything was written should get the note `CANCELLED_UNSENT`.

        Raises:
            TransportError: There was no reply. Any other exception counts as one that may have
                reached the API.
        """
        ...

    async def close(self) -> None:
        """Release everything; no `send` is under way any more."""
