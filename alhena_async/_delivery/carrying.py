"""One attempt by a transport that carries envelopes rather than requests, as to a broker.

Such a transport keeps its own connection open, and says when it has one: until then nothing is
attempted, so that waiting for it is no failure.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final, Protocol

from alhena_async._delivery.timers import AttemptTimeout
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry.telemetry import log_foreign

__all__ = ["Carriage", "Carrier"]


class Carrier(Protocol):
    """A transport that carries envelopes. Whoever gets them can tell a repeat by its identity."""

    @property
    def is_open(self) -> bool:
        """Whether anything can be carried now."""
        ...

    async def open(self) -> None:
        """Get ready, without waiting for anybody."""

    async def keep_open(self, on_change: Callable[[Verdict | None], None]) -> None:
        """Open the connection whenever there is none, until cancelled.

        Args:
            on_change: Called with why each time that it fails, and with None once it is open.
        """

    async def carry(self, envelope: Envelope, identity: str) -> Verdict:
        """Carry an envelope, and return how that ended; never ambiguous, as a repeat is no harm.

        Args:
            envelope: What to carry.
            identity: The same for every attempt at it, and no other's.
        """
        ...

    async def close(self) -> None:
        """Release everything."""


class Carriage:
    """Makes attempts over a carrier.

    Args:
        carrier: Carries the envelopes.
        journal: Names rows so that a later process names them alike; None: nothing outlives this.
    """

    def __init__(self, carrier: Carrier, journal: JournalGateway | None) -> None:
        self._carrier = carrier
        self._journal = journal
        self._token: Final = secrets.token_hex(8)

    def may_send(self) -> bool:
        """Return whether an attempt is worth making."""
        return self._carrier.is_open

    async def attempt(self, envelope: Envelope, timeout: AttemptTimeout) -> Verdict:
        """Make one attempt and return its verdict. Raises nothing but a cancellation of the task.

        Args:
            envelope: What to carry.
            timeout: Ends it in time.
        """
        try:
            with timeout:
                return await self._carrier.carry(envelope, self._identity_of(envelope))
        except TimeoutError:
            return _failed("no answer in time")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _failed("the transport cancelled the attempt")
        except Exception as error:  # noqa: BLE001  a foreign broker may raise anything
            log_foreign("the broker failed in an unforeseen way", error)
            return _failed(f"the broker raised {type(error).__name__}")

    def _identity_of(self, envelope: Envelope) -> str:
        """Return what names an envelope: its row in the journal, or itself in this process."""
        details = envelope.details()
        identity = getattr(details, "identity", None)
        if identity is None:
            series = self._journal.series if self._journal is not None else None
            if series is None or envelope.row_id is None:
                identity = f"{self._token}-{envelope.id}"
            else:
                identity = f"{series}-{envelope.row_id:x}"
            details.identity = identity
        return identity


def _failed(detail: str) -> Verdict:
    return Verdict(kind=VerdictKind.TRANSIENT, detail=detail)
