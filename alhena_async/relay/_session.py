"""One session of a relay: what it holds, how long that is certainly its own, how each ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

import attrs

from alhena_async._telemetry.sampling import Sampler
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.events import Event
from alhena_async.observers import Observer
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.relay._clock import now
from alhena_async.relay._letter import letter_of, unreadable_letter
from alhena_async.relay._message import Message, UnreadableError, decode
from alhena_async.relay._seam import Lease, LeaseLost, Source
from alhena_async.transports import TransportError

if TYPE_CHECKING:
    from alhena_async._queue.envelope import Envelope
    from alhena_async.relay._deliverer import Deliverer

__all__ = ["Counts", "Session", "SessionLost"]

_log = logging.getLogger("alhena_async")

_SETTLED: Final = frozenset(
    {OutcomeStatus.RECORDED, OutcomeStatus.DUPLICATE, OutcomeStatus.UNATTRIBUTED}
)

_ANSWERED: Final = _SETTLED | {OutcomeStatus.REJECTED}

_LETTERS: Final = frozenset({OutcomeStatus.REJECTED, OutcomeStatus.EXPIRED, OutcomeStatus.UNKNOWN})

_FENCED_AFTER: Final = 2 / 3
"""The share of a lease without a confirmation after which nothing more is sent."""

_SECONDS_BETWEEN_LOOKS: Final = 0.5
"""How soon one that is full hears that its connection is lost: before another has begun anew."""

_EXTENDED_AFTER: Final = 1 / 4
"""The share of a lease after which it is extended."""


class SessionLost(Exception):  # noqa: N818  not an error of anybody's
    """The session cannot go on: what it holds may be another's.

    Args:
        why: In words.
        is_fenced: Whether no confirmation came in time; else the connection was lost.
    """

    def __init__(self, why: str, *, is_fenced: bool) -> None:
        super().__init__(why)
        self.is_fenced = is_fenced


@attrs.define
class Counts:
    """What a relay counts over all its sessions."""

    done: int = 0
    dead_letters: int = 0
    redelivered: int = 0
    sessions: int = 0
    fenced: int = 0


@attrs.define(eq=False)
class _Held:
    """An event that was taken."""

    lease: Lease
    envelope: Envelope | None = None
    failures: int = 0
    """Attempts that failed although the API settled another event since the one before."""
    settled_before: int = -1
    """How many events the API had settled when its last attempt failed; -1: none has failed."""


class Session:
    """Takes, holds, and says what became of it.

    Args:
        source: Open.
        counts: Of the relay.
        room: Events held at most.
        max_attempts: See `Relay`.
        unreadable: Says which of many unreadable messages are worth a line.
    """

    def __init__(
        self,
        source: Source,
        *,
        counts: Counts,
        room: int,
        max_attempts: int,
        unreadable: Sampler,
    ) -> None:
        self._source = source
        self._counts = counts
        self._room = room
        self._max_attempts = max_attempts
        self._unreadable = unreadable
        self._lease = source.lease
        self._confirmed: OrderedDict[_Held, float] = OrderedDict()
        """What is held and not yet settled, and when it was certainly ours; the oldest first."""
        self._by_event: dict[int, _Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._client_closed = asyncio.Event()
        self._waiting: asyncio.Task[object] | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled_count = 0
        self._loops: list[asyncio.Task[None]] = []
        self._client: Deliverer | None = None
        self.watch: Observer = _Watch(self)

    @property
    def held(self) -> int:
        """Events that are neither acknowledged nor given back."""
        return len(self._tasks)

    def may_send(self) -> bool:
        """Return whether all that is held is certainly ours: the client's fence."""
        if self._lost.done():
            return False
        if not self._confirmed:
            return True
        oldest = next(iter(self._confirmed.values()))
        if now() - oldest < self._lease * _FENCED_AFTER:
            return True
        self._lose(SessionLost("no lease was confirmed in time", is_fenced=True))
        return False

    # --- its life ------------------------------------------------------------------------------

    async def run(self, client: Deliverer, stopping: asyncio.Event) -> None:
        """Take and deliver until told to stop.

        Raises:
            SessionLost: It cannot go on.
        """
        self._client = client
        taking = self._spawn(self._take(client), "alhena-relay-take")
        self._loops = [taking, self._spawn(self._extend(), "alhena-relay-extend")]
        try:
            await self._until(stopping.wait(), None)
        finally:
            taking.cancel()
            await asyncio.wait({taking})

    async def drain(self, timeout: float) -> None:
        """Finish what is held, within the time.

        Raises:
            SessionLost: It cannot go on.
        """
        if self._tasks:
            await self._until(asyncio.wait(set(self._tasks)), timeout)

    async def _until(self, work: Coroutine[Any, Any, object], timeout: float | None) -> None:
        """Wait for something, within the time, as long as the session can go on.

        Raises:
            SessionLost: It cannot.
        """
        waiting = self._waiting = asyncio.create_task(work, name="alhena-relay-wait")
        both: set[asyncio.Future[Any]] = {waiting, self._lost}
        try:
            await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._lost.done():
            self._lost.result()

    def hurry(self) -> None:
        """Wait no longer for what is held."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def end(self) -> None:
        """Give back what is left, as the client is closed; then hold nothing."""
        self._client_closed.set()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=2.0)
        for task in (*self._tasks, *self._loops):
            task.cancel()
        left = {*self._tasks, *self._loops}
        if left:
            await asyncio.wait(left)
        if not self._lost.done():
            self._lost.cancel()
        elif not self._lost.cancelled():
            self._lost.exception()  # perhaps nobody asked

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._freed.set()
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            if not isinstance(error, SessionLost):
                log_foreign("a relay's session failed", error)  # type: ignore[arg-type]
                error = SessionLost(f"it failed: {type(error).__name__}", is_fenced=False)
            self._lose(error)

    def _lose(self, why: BaseException) -> None:
        if not self._lost.done():
            self._lost.set_exception(why)

    # --- taking --------------------------------------------------------------------------------

    async def _take(self, client: Deliverer) -> None:
        while True:
            self._freed.clear()
            room = self._room - len(self._tasks)
            if room <= 0:
                await self._wait_for_room()
                continue
            try:
                leases = await self._source.take(room)
            except TransportError as error:
                raise SessionLost(str(error), is_fenced=False) from error
            for lease in leases:
                self._begin(client, lease)

    async def _wait_for_room(self) -> None:
        """Wait until something ends; hear soon if the connection is lost, though nothing is taken.

        A broker that comes back without knowing who has what hands it to another at once.
        """
        try:
            async with asyncio.timeout(_SECONDS_BETWEEN_LOOKS):
                await self._freed.wait()
        except TimeoutError:
            await self._extend_some(list(self._confirmed)[:1])

    def _begin(self, client: Deliverer, lease: Lease) -> None:
        """Let the client have an event; this order is the order of its lane."""
        self._counts.redelivered += lease.delivery > 1
        held = _Held(lease)
        try:
            message = decode(lease.body)
        except UnreadableError as error:
            self._hold(self._bury_unreadable(held, str(error)))
            return
        self._confirmed[held] = now()
        self._by_event[id(message.event)] = held
        age = lease.age if lease.age is not None else time.time() - message.accepted_at
        age = max(0.0, age)  # a clock ahead counts as now
        held.envelope = client.admit(message, age=age, perhaps_sent=lease.delivery > 1)
        self._hold(self._finish(held, message, held.envelope))

    def _hold(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(self._spawn(work, "alhena-relay-event"))

    async def _extend(self) -> None:
        """Let the leases of what is held begin anew, again and again."""
        while True:
            await asyncio.sleep(self._lease * _EXTENDED_AFTER)
            await self._extend_some(list(self._confirmed))

    async def _extend_some(self, extended: list[_Held]) -> None:
        """Let these leases begin anew.

        Raises:
            SessionLost: One of them is over, or nobody said that it is not.
        """
        if not extended:
            return
        asked = now()
        try:
            async with asyncio.timeout(self._lease * _FENCED_AFTER):
                await self._source.extend([held.lease for held in extended])
        except (LeaseLost, TransportError, TimeoutError) as error:
            if not self._are_held(extended):
                return  # some ended meanwhile: it is asked again, without them
            why = str(error) or "the broker did not confirm the leases in time"
            raise SessionLost(why, is_fenced=True) from error
        for held in extended:
            if self._confirmed.pop(held, None) is not None:
                self._confirmed[held] = asked

    def _are_held(self, extended: list[_Held]) -> bool:
        return all(held in self._confirmed for held in extended)

    # --- how each ends -------------------------------------------------------------------------

    async def _finish(self, held: _Held, message: Message, envelope: Envelope) -> None:
        """Settled, then acknowledged, then the next."""
        try:
            outcome = await envelope
        finally:
            # What is being acknowledged is not among those whose lease must hold.
            self._confirmed.pop(held, None)
            self._by_event.pop(id(message.event), None)
        try:
            if outcome.status in _SETTLED:
                await self._source.done(held.lease)
                self._counts.done += 1
            elif outcome.status in _LETTERS:
                await self._bury(held, outcome)
            elif not self._lost.done():
                await self._client_closed.wait()  # nothing of it may still be on the wire
                await self._source.give_back(held.lease)
        except LeaseLost as error:
            raise SessionLost(str(error), is_fenced=False) from error

    async def _bury(self, held: _Held, outcome: Outcome) -> None:
        letter = letter_of(
            outcome,
            held.lease.body,
            destination=self._source.destination,
            ended=time.time(),
        )
        await self._source.bury(held.lease, letter)
        self._counts.dead_letters += 1

    async def _bury_unreadable(self, held: _Held, rule: str) -> None:
        count, is_due = self._unreadable.count(rule, now())
        _log.log(
            logging.WARNING if is_due else logging.DEBUG,
            "alhena: a message is no event: %s; it is among the letters (%d so far)", rule, count,
        )  # fmt: skip
        letter = unreadable_letter(
            held.lease.body, rule, destination=self._source.destination, ended=time.time()
        )
        try:
            await self._source.bury(held.lease, letter)
        except LeaseLost as error:
            raise SessionLost(str(error), is_fenced=False) from error
        self._counts.dead_letters += 1

    # --- one poisoned event may not hold its partition -----------------------------------------

    def on_settled(self, outcome: Outcome) -> None:
        """Note that the API settled an event: it is there."""
        if outcome.http_status is not None and outcome.status in _ANSWERED:
            self._settled_count += 1

    def on_failed(self, event: Event) -> None:
        """Count an attempt that failed although the API is there; give up after too many."""
        held = self._by_event.get(id(event))
        if held is None or held.envelope is None or self._client is None:
            return
        if held.settled_before >= 0 and self._settled_count > held.settled_before:
            held.failures += 1
        held.settled_before = self._settled_count
        if held.failures >= self._max_attempts:
            self._client.give_up(
                held.envelope,
                f"max_attempts={self._max_attempts} failed while the API settled other events",
            )


class _Watch(Observer):
    """Tells a session what its client's observers hear."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def outcome(self, outcome: Outcome) -> None:
        self._session.on_settled(outcome)

    def retry(self, event: Event, delay: float, reason: str) -> None:
        del delay, reason
        self._session.on_failed(event)
