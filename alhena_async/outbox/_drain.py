"""Delivers an outbox from within the shop's own process, for as long as its client lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

from alhena_async._delivery.cancellation import wait_out
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.errors import OutboxError
from alhena_async.observers import Observer, Stats
from alhena_async.outbox._sqlite_source import SQLiteSource
from alhena_async.policies import HttpPolicy, RetryPolicy
from alhena_async.relay import Channel, Relay, Source
from alhena_async.transports import Endpoint, Reply, Transport

__all__ = ["Drain"]

_BETWEEN_LOOKS: Final = 0.02  # seconds, or every event that ends is a look into the database


class Drain:
    """A relay over an outbox, with the client's own settings.

    Args:
        name: Of the outbox, for the log.
        make_source: Makes what is taken from.
        waits: Returns whether a row waits whose id is at most the given one. May block.
        last: Returns the last id that waits. May block.
        settings: Of the relay: retry, http, observers, max_in_flight, max_rate.
        transport: Whom the client has instead of HTTP; None: HTTP.
    """

    def __init__(
        self,
        name: str,
        make_source: Callable[[asyncio.Event, Callable[[], None]], SQLiteSource],
        *,
        waits: Callable[[int], bool],
        last: Callable[[], int],
        retry: RetryPolicy,
        http: HttpPolicy,
        observers: Sequence[Observer],
        max_in_flight: int,
        max_rate: float | None,
        transport: Transport | None,
    ) -> None:
        self._name = name
        self._make_source = make_source
        self._waits = waits
        self._last = last
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._until = inf
        self._life: asyncio.Task[None] | None = None
        self._shutdown: asyncio.Task[None] | None = None
        self._draining: asyncio.Timeout | None = None
        self._relay = Relay(
            broker=self,
            retry=retry,
            http=http,
            observers=observers,
            max_in_flight=max_in_flight,
            max_rate=max_rate,
            transport=None if transport is None else _Borrowed(transport),
        )

    # --- what the relay asks of a broker -------------------------------------------------------

    def __str__(self) -> str:
        return self._name

    def channel(self) -> Channel:
        """See `Broker`; events are added within the shop's own transactions."""
        raise TypeError(f"{self._name}: add events by outbox.add or outbox.add_sync")

    def source(self) -> Source:
        """See `Broker`."""
        return self._make_source(self._changed, self._ended.set)

    # --- what the client asks of it ------------------------------------------------------------

    async def start(self) -> None:
        """Begin to deliver.

        Raises:
            OutboxError: The database cannot be used.
        """
        await asyncio.to_thread(self._last)
        if self._shutdown is not None:
            return  # closed meanwhile
        self._life = asyncio.create_task(self._relay.run(drain_timeout=0), name="alhena-outbox")
        self._life.add_done_callback(self._on_ended)

    def _on_ended(self, life: asyncio.Task[None]) -> None:
        self._ended.set()
        error = None if life.cancelled() else life.exception()
        if error is not None:
            log_foreign("the outbox is delivered no more: start the client anew", error)

    def wake(self) -> None:
        """Look into the outbox now."""
        self._changed.set()

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self._relay.pause()

    def resume(self) -> None:
        """Send again."""
        self._relay.resume()

    async def flush(self) -> None:
        """Return once all that is committed by now is settled, and out of the outbox.

        Raises:
            OutboxError: The database cannot be used, or nothing delivers it any more.
        """
        last = await asyncio.to_thread(self._last)
        self.wake()
        while await asyncio.to_thread(self._waits, last):
            if self._life is None or self._life.done():
                raise OutboxError(f"{self._name} is delivered no more: start the client anew")
            await asyncio.sleep(_BETWEEN_LOOKS)
            self._ended.clear()
            try:
                async with asyncio.timeout(0.25):  # another process may deliver it
                    await self._ended.wait()
            except TimeoutError:
                continue

    def shut_down(self, deadline: float) -> asyncio.Task[None]:
        """Deliver what is committed by now, until the loop's time `deadline`; then stop.

        What is left stays in the outbox. A later call can only bring the deadline forward.
        """
        self._until = min(self._until, deadline)
        if self._draining is not None and not self._draining.expired():
            self._draining.reschedule(self._until)
        if self._shutdown is None:
            self._shutdown = asyncio.create_task(self._shut_down(), name="alhena-outbox-end")
        return self._shutdown

    async def _shut_down(self) -> None:
        life = self._life
        if life is None:
            return
        try:
            until = None if self._until == inf else self._until
            async with asyncio.timeout_at(until) as self._draining:
                await self.flush()
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001  the database may be gone by now
            log_foreign("the outbox could not be delivered to its end", error)
        finally:
            self._draining = None
            self._relay.stop()
            await wait_out(life, life.cancel)

    def stats(self) -> Stats:
        """Return the counts of what was taken from the outbox."""
        return self._relay.client_stats()


class _Borrowed:
    """The client's own transport, which the client opens and closes.

    Args:
        transport: Of the client.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def open(self) -> None:
        """It is open."""

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        """See `Transport`."""
        return await self._transport.send(endpoint, body)

    async def close(self) -> None:
        """The client does."""
