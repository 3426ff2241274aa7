"""What a client asks of an outbox that it delivers beside its own events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from alhena_async.observers import Observer, Stats
from alhena_async.policies import HttpPolicy, RetryPolicy
from alhena_async.transports import Transport

__all__ = ["DrainableOutbox", "OutboxDrain"]


class OutboxDrain(Protocol):
    """Delivers one outbox, from the client's start to its end."""

    async def start(self) -> None:
        """Begin to deliver.

        Raises:
            OutboxError: The database cannot be used.
        """

    def wake(self) -> None:
        """Look into the outbox now."""

    async def flush(self) -> None:
        """Return once all that is committed by now is settled."""

    def pause(self) -> None:
        """Send nothing until `resume`."""

    def resume(self) -> None:
        """Send again."""

    def shut_down(self, deadline: float) -> asyncio.Task[None]:
        """Deliver what is committed by now until the loop's time `deadline`, then stop."""
        ...

    def stats(self) -> Stats:
        """Return the counts of what was taken from the outbox."""
        ...


class DrainableOutbox(Protocol):
    """An outbox that the shop's own client delivers, as `alhena_async.outbox.SQLiteOutbox`."""

    def drain(
        self,
        *,
        destination: str,
        retry: RetryPolicy,
        http: HttpPolicy,
        observers: Sequence[Observer],
        max_in_flight: int,
        max_rate: float | None,
        transport: Transport | None,
    ) -> OutboxDrain:
        """Return what delivers it, with the client's own settings."""
        ...
