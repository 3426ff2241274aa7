"""A worker that takes events from a broker, and delivers them through the one client engine.

A life is a row of sessions: one connection, one client. Whenever the connection is lost, or it is
not sure that what is held is still ours, both are dropped, and a new session begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import attrs

from alhena_async._delivery.cancellation import wait_out
from alhena_async._telemetry.sampling import Episode, Phase, Sampler
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.observers import Observer, Stats
from alhena_async.policies import HttpPolicy, QueuePolicy, RetryPolicy
from alhena_async.relay._brokers import broker_at
from alhena_async.relay._clock import now
from alhena_async.relay._deliverer import Deliverer
from alhena_async.relay._seam import Broker, Source
from alhena_async.relay._session import Counts, Session, SessionLost
from alhena_async.transports import Transport, TransportError

__all__ = ["Relay", "RelayStats"]

_log = logging.getLogger("alhena_async")

_OPEN_TIMEOUT: Final = 10.0  # seconds for one try to connect

_SECONDS_BETWEEN_SESSIONS: Final = 1.0


@attrs.frozen(kw_only=True)
class RelayStats:
    """A snapshot of a relay. Counts begin at 0 when it is made.

    Attributes:
        held: Events taken from the broker, and neither acknowledged nor given back.
        done: Events that the API settled, and that were acknowledged.
        dead_letters: Events that ended badly or could not be read, kept as letters.
        redelivered: Events taken that had been handed out before.
        sessions: Connections that served, one after the other.
        fenced: Sessions that ended because it was not sure that what they held was still theirs.
        connected: Whether it is connected and takes events.
    """

    held: int = 0
    done: int = 0
    dead_letters: int = 0
    redelivered: int = 0
    sessions: int = 0
    fenced: int = 0
    connected: bool = False


class Relay:
    """Delivers what publishers handed to a broker, in order per visitor.

    Run as many as you like, on as many machines: each event is one relay's at a time, and if that
    one dies, another's after the lease. Where events go is written down at the broker.

    Args:
        broker: A `Broker`; or as text the servers of a `JetStream`, or the URL of a `Postgres`.
        retry: What is tried again, and for how long; deadlines run from the acceptance. Default:
            `RetryPolicy(precondition_retries=0)`, as order holds over all processes. Its
            `max_attempts` is not used.
        http: How requests travel.
        observers: Each is told of everything that happens.
        max_attempts: Attempts of one event that fail while the API settles others, before it ends
            `EXPIRED` among the letters. What fails in an outage does not count. Default 8.
        room: Events held at most. Default 1,024.
        max_in_flight: Requests at once, at most. Default 256.
        max_rate: Requests a second, at most. Default None: no bound.
        transport: Instead of HTTP, something else that carries requests; for tests.
    """

    def __init__(
        self,
        *,
        broker: Broker | str,
        retry: RetryPolicy | None = None,
        http: HttpPolicy | None = None,
        observers: Sequence[Observer] = (),
        max_attempts: int = 8,
        room: int = 1_024,
        max_in_flight: int = 256,
        max_rate: float | None = None,
        transport: Transport | None = None,
    ) -> None:
        _check_whole(max_attempts=max_attempts, room=room, max_in_flight=max_in_flight)
        self._broker = broker_at(broker) if isinstance(broker, str) else broker
        self._retry = retry if retry is not None else RetryPolicy(precondition_retries=0)
        self._http = http if http is not None else HttpPolicy()
        self._observers = tuple(observers)
        self._max_attempts = max_attempts
        self._room = room
        self._max_in_flight = max_in_flight
        self._max_rate = QueuePolicy(max_rate=max_rate).max_rate
        self._is_paused = False
        self._transport = transport
        self._counts = Counts()
        self._session: Session | None = None
        self._client: Deliverer | None = None
        self._past = Stats()
        """What the clients of sessions that are over have counted."""
        self._drain_timeout = 0.0
        self._stopping = asyncio.Event()
        self._outage = Episode()
        self._unreadable = Sampler()

    def stats(self) -> RelayStats:
        """Return a snapshot of the counts."""
        counts, session = self._counts, self._session
        return RelayStats(
            held=session.held if session else 0,
            done=counts.done,
            dead_letters=counts.dead_letters,
            redelivered=counts.redelivered,
            sessions=counts.sessions,
            fenced=counts.fenced,
            connected=session is not None and not self._stopping.is_set(),
        )

    def client_stats(self) -> Stats:
        """Return the counts of all its sessions' clients together."""
        return self._past if self._client is None else self._past + self._client.stats()

    def stop(self) -> None:
        """Take nothing more; `run` finishes what is held, gives the rest back, and returns."""
        self._stopping.set()

    def pause(self) -> None:
        """Send nothing until `resume`; what was taken stays held, and no other relay gets it."""
        self._is_paused = True
        if self._client is not None:
            self._client.pause()

    def resume(self) -> None:
        """Send again."""
        self._is_paused = False
        if self._client is not None:
            self._client.resume()

    async def run(self, *, drain_timeout: float = 10.0) -> None:
        """Take and deliver until stopped or cancelled; then drain.

        It never ends because the broker is away: it tries again every second. Cancelled, it drains
        and re-raises; a second request to cancel gives back at once what is left.

        Args:
            drain_timeout: Seconds to finish what is held.

        Raises:
            ValueError: The broker can never work, as a file with credentials is missing.
        """
        self._drain_timeout = drain_timeout
        life = asyncio.create_task(self._run(), name="alhena-relay")
        try:
            await asyncio.wait({life})
        except asyncio.CancelledError:
            self.stop()
            await wait_out(life, self._hurry)
            _heard(life)
            raise
        life.result()

    def _hurry(self) -> None:
        """Give back at once what is left."""
        if self._session is not None:
            self._session.hurry()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            source = self._broker.source()
            try:
                if await self._opened(source):
                    await self._serve(source)
            finally:
                await _closed(source)
            await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_SECONDS_BETWEEN_SESSIONS):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _opened(self, source: Source) -> bool:
        """Open a source; return whether it can be taken from."""
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT):
                await source.open()
        except (TransportError, TimeoutError) as error:
            self._tell_outage(str(error) or "no connection in time")
            return False
        lasted = self._outage.end(now())
        if lasted is not None:
            _log.warning("alhena: %s can be taken from again after %.0f s", self._broker, lasted)
        return True

    def _tell_outage(self, why: str) -> None:
        phase = self._outage.occurred(now())
        if phase is not None:
            still = " still" if phase is Phase.REMINDER else ""
            _log.warning("alhena: %s can%s not be taken from: %s", self._broker, still, why)

    async def _serve(self, source: Source) -> None:
        """Live one session, from its client's start to its end."""
        session = Session(
            source,
            counts=self._counts,
            room=self._room,
            max_attempts=self._max_attempts,
            unreadable=self._unreadable,
        )
        client = Deliverer(
            destination=source.destination,
            fence=session.may_send,
            retry=self._retry,
            http=self._http,
            observers=(*self._observers, session.watch),
            room=self._room,
            max_in_flight=self._max_in_flight,
            max_rate=self._max_rate,
            transport=self._transport,
        )
        if self._is_paused:
            client.pause()
        await client.start()
        self._session, self._client = session, client
        self._counts.sessions += 1
        _log.info("alhena: events of %s go to %s", self._broker, source.destination)
        try:
            await session.run(client, self._stopping)
            await session.drain(self._drain_timeout)
        except SessionLost as lost:
            self._counts.fenced += lost.is_fenced
            _log.warning(
                "alhena: the session with %s is over (%s): what it held comes again",
                self._broker, lost,
            )  # fmt: skip
        finally:
            self._session = None
            client.leave_rest()
            report = await client.close(0)
            self._client, self._past = None, self._past + report.stats
            await session.end()


def _heard(life: asyncio.Task[None]) -> None:
    """Log what a life ended with that nobody else will hear of."""
    error = None if life.cancelled() else life.exception()
    if error is not None:
        log_foreign("the relay failed as it ended", error)


def _check_whole(**numbers: object) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"Relay.{name} must be a whole number of at least 1")


async def _closed(source: Source) -> None:
    try:
        await source.close()
    except Exception as error:  # noqa: BLE001  foreign
        log_foreign("the broker could not be left cleanly", error)
