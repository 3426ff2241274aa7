"""The seam to the engine between publishers and relays: what is asked of any such engine.

Provisional: it has one engine and a broker in memory behind it, and may change until a second
engine has used it. `tests/unit/relay/test_seam.py` is the contract, as tests that any `Broker`
must pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

__all__ = ["Broker", "Channel", "Lease", "LeaseLost", "Parcel", "ParcelTooLargeError", "Source"]


@attrs.frozen
class Parcel:
    """What a publisher hands over: one event, in the form that relays read."""

    id: str
    """The same for every attempt at one event, and no other event's: how an engine tells a
    repeated publish from a second event."""
    lane: int
    """The visitor's lane: 63 bits, 0 or more. Parcels of one lane keep their order."""
    body: bytes


@attrs.frozen
class Lease:
    """A parcel that is a taker's for a while: no other is handed out of its lane meanwhile."""

    body: bytes
    delivery: int
    """How often it was handed out, this time included. 1: certainly nobody had it before."""
    token: object = attrs.field(repr=False)
    """The engine's own: what it knows the lease by."""
    age: float | None = None
    """Seconds from the acceptance to the taking, by the engine's own clock; None: its message says
    when it was accepted."""


class LeaseLost(Exception):  # noqa: N818  a public name
    """A lease has ended, or the engine did not confirm that it has not: another may have it now."""


class ParcelTooLargeError(Exception):
    """A parcel is larger than the engine ever takes.

    Args:
        size: Its bytes.
        bound: The bytes that the engine takes.
    """

    def __init__(self, size: int, bound: int) -> None:
        super().__init__(f"its message has {size:,} bytes, and the broker takes {bound:,}")
        self.size = size
        self.bound = bound


class Channel(Protocol):
    """Publishes parcels. Opened, and opened again after trouble, by one owner; then closed."""

    async def open(self) -> None:
        """Return once parcels can be published; at once if they can be by now.

        It is called before the first `publish`, and again after each that found no connection.
        The caller bounds the time by cancelling.

        Raises:
            TransportError: They cannot be now; it is tried again.
        """

    async def publish(self, parcel: Parcel) -> None:
        """Hand a parcel over, and return once the engine has it durably.

        Durably: it is handed out until it is `done`, whatever process or machine dies, as far as
        the engine's own configuration promises that. A parcel whose id was published lately
        (JetStream: in the last ten minutes) is not taken a second time, and the call returns all
        the same. Calls of different lanes run side by side; of one lane the next comes after the
        end of the one before.

        Raises:
            TransportError: The engine has not said that it has the parcel; it may have it. Not
                `sent`: there is no connection, and `open` comes next.
            ParcelTooLargeError: It will never take this one.
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class Source(Protocol):
    """Hands out parcels, and takes back what became of them. One owner opens and closes it.

    Of each lane, the engine hands out the parcels in the order of their publishing, one at a time
    over all sources: the next after the one before was `done` or buried. What was leased and not
    done comes again once the lease is over or was given back, before all later ones of its lane,
    with a higher `Lease.delivery`. Every other lane goes on meanwhile, or as many as the engine
    keeps apart.
    """

    @property
    def lease(self) -> float:
        """Seconds that a lease holds from its taking, and from each `extend`."""
        ...

    @property
    def destination(self) -> str:
        """The API's base URL that the engine's events are for."""
        ...

    async def open(self) -> None:
        """Return once parcels can be taken.

        Raises:
            TransportError: They cannot be now.
        """

    async def take(self, room: int) -> list[Lease]:
        """Wait until at least one parcel can be leased, and return up to `room` leases.

        Of each, most is to go: counted from when the engine handed it out, and not from when it
        was heard, which may be long after where the process or the network stood still.

        Cancelled, it leases nothing to its caller: what came meanwhile is in the next `take`, or is
        handed out again after the lease.

        Raises:
            TransportError: The connection is lost. All that was leased may be another's soon.
        """
        ...

    async def extend(self, leases: Sequence[Lease]) -> None:
        """Let these leases begin anew, and return once the engine has confirmed it.

        Raises:
            LeaseLost: It did not confirm one of them.
        """

    async def done(self, lease: Lease) -> None:
        """Remove a parcel for good, and return once the engine has confirmed it.

        Raises:
            LeaseLost: It did not: the parcel may be handed out again.
        """

    async def bury(self, lease: Lease, letter: bytes) -> None:
        """Keep a letter (what ended badly, and why), and only then remove the parcel.

        Raises:
            LeaseLost: It was not confirmed that both is done.
        """

    async def give_back(self, lease: Lease) -> None:
        """Let a parcel be handed out again at once. Never raises: else it is, after its lease."""

    async def close(self) -> None:
        """Release everything; leases end in their own time. Idempotent."""


class Broker(Protocol):
    """An engine between publishers and relays: makes what speaks to it.

    One with an attribute `name` (a text that names the queue: what a publisher's journal is for,
    and what log lines say) is called by that, any other by its class.
    """

    def channel(self) -> Channel:
        """Return a new way to publish; nothing is connected yet.

        Raises:
            ValueError: It can never work, as a file with credentials is missing.
        """
        ...

    def source(self) -> Source:
        """Return a new way to take; nothing is connected yet.

        Raises:
            ValueError: It can never work.
        """
        ...
