"""Takes events from the outbox of a Postgres database; why so: `docs/internals/outbox.md`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Coroutine, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Final

import attrs

from alhena_async._telemetry.sampling import Episode, Phase
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.relay import _postgres_sql, _postgres_table
from alhena_async.relay._clock import now
from alhena_async.relay._message import in_ascii
from alhena_async.relay._postgres_dialler import Dialler
from alhena_async.relay._postgres_table import Settings
from alhena_async.relay._postgres_wishes import Token, Wishes, listed
from alhena_async.relay._seam import Lease, LeaseLost
from alhena_async.transports import TransportError

if TYPE_CHECKING:
    from alhena_async.relay._postgres_connection import Connection

__all__ = ["PostgresSource", "heard"]

_log = logging.getLogger("alhena_async")

_SECONDS_BETWEEN_SCANS: Final = 0.5  # unless something is heard

_SCAN_SHARE: Final = 5
"""A scan is followed by at least so many times its own duration without one."""

_MAX_LEASES: Final = 256
"""Events that are taken by one statement: each may be large."""

_SECONDS_AFTER_REFUSAL: Final = 0.5

_SLOW: Final = 30.0  # seconds without an answer that are worth a line

_BEAT: Final = 5.0  # seconds between two questions whether the server is there

_BEAT_TIMEOUT: Final = 10.0

_SECONDS_BETWEEN_PRUNINGS: Final = 60.0

_FRESH: Final = 0.85
"""The share of a lease that is to go, of what is handed out."""

_FIRST_LANE: Final = -(1 << 63)


@attrs.define(eq=False)
class _Taken:
    """What was leased, and is not yet handed out."""

    lease: Lease
    asked_at: float
    """When it was asked for, by `now`: it was not leased before."""


class PostgresSource:
    """Takes from the outbox: a `Source`, on two connections.

    One takes, and may wait there for a lock as long as somebody holds it. The other does what
    comes of it, many at once in one statement, hears of new events, and asks again and again
    whether the server is there.

    Args:
        dialler: Connects.
    """

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler
        self._settings: Settings | None = None
        self._taker: Connection | None = None
        self._doer: Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: asyncio.Task[None] | None = None
        self._is_wanted = False
        """Whether somebody waits in `take`."""
        self._arrived: deque[_Taken] = deque()
        self._news = asyncio.Event()
        self._finished: dict[int, None] = {}
        """Lanes whose event was finished with, in that order."""
        self._cursor = _FIRST_LANE
        """The lane behind which the next scan begins."""
        self._scans_at = 0.0
        """When the next scan is due, by `now`."""
        self._may_scan_at = 0.0
        self._wishes: Wishes | None = None
        self._trouble = Episode()

    @property
    def lease(self) -> float:
        """See `Source`."""
        return self._standing().lease

    @property
    def destination(self) -> str:
        """See `Source`."""
        return self._standing().destination

    def _standing(self) -> Settings:
        if self._settings is None:
            raise TransportError("no connection to the database", sent=False)
        return self._settings

    async def open(self) -> None:
        """See `Source`."""
        if self._doer is not None and not self._is_lost():
            return
        await self.close()
        try:
            self._doer = await self._dialler.connect()
            self._settings = await self._dialler.read(self._doer, relays=True)
            await self._doer.listen(self._on_news)
            self._taker = await self._dialler.connect()
        except BaseException:
            await self.close()
            raise
        for connection in (self._doer, self._taker):
            connection.on_lost(self._on_lost)
        self._wishes = Wishes(
            self._doer,
            self._dialler.tables,
            self._settings.lease,
            on_finished=self._on_finished,
            on_refused=self._tell,
        )
        self._cursor = _FIRST_LANE + secrets.randbelow(1 << 64)  # each relay begins elsewhere
        self._scans_at = self._may_scan_at = 0.0
        self._spawn(self._wishes.run(), "alhena-relay-do")
        self._spawn(self._beat(self._doer), "alhena-relay-beat")

    async def close(self) -> None:
        """See `Source`."""
        await self._give_back_arrived()
        self._arrived.clear()
        self._finished.clear()
        taker, self._taker = self._taker, None
        doer, self._doer = self._doer, None
        connections = [one for one in (taker, doer) if one is not None]
        await asyncio.gather(*(one.close() for one in connections))
        await self._end_tasks()
        self._settings = None
        if self._wishes is not None:
            self._wishes.fail()

    async def _give_back_arrived(self) -> None:
        """Let what nobody took be handed out again at once, if there is still a connection."""
        if self._is_lost():
            return
        if self._asking is not None:
            self._news.set()
            await asyncio.wait({self._asking}, timeout=1.0)
        arrived = [one.lease for one in self._arrived]
        await asyncio.gather(*map(self.give_back, arrived))

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        asking, self._asking = self._asking, None
        if asking is not None:
            tasks.append(asking)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            heard(task)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._on_done)
        self._tasks.append(task)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log_foreign("taking from the outbox failed", error)
            self._on_lost()

    def _is_lost(self) -> bool:
        return any(one is None or one.is_lost for one in (self._taker, self._doer))

    def _on_lost(self) -> None:
        """Let go of both connections: what is held may be another's soon."""
        for connection in (self._taker, self._doer):
            if connection is not None and not connection.is_lost:
                connection.fail()
        if self._wishes is not None:
            self._wishes.fail()
        self._news.set()

    def _on_finished(self, token: Token) -> None:
        self._finished[token.lane] = None
        self._news.set()

    def _on_news(self) -> None:
        self._scans_at = 0.0
        self._news.set()

    async def _beat(self, connection: Connection) -> None:
        """Ask again and again whether the server is there; prune what is kept no longer."""
        from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

        prunes_at = now()
        while not connection.is_lost:
            try:
                if now() >= prunes_at:
                    prunes_at = now() + _SECONDS_BETWEEN_PRUNINGS
                    await self._prune(connection)
                await connection.fetch("SELECT 1", timeout=_BEAT_TIMEOUT)
            except TransportError:
                return
            except Refused as error:  # it is there, and says so
                self._tell(str(error))
            await asyncio.sleep(_BEAT)

    async def _prune(self, connection: Connection) -> None:
        bounds = (
            _postgres_table.DUPLICATE_WINDOW,
            _postgres_table.LETTERS_AGE,
            _postgres_table.LETTERS_BYTES,
            86_400.0,
            _postgres_table.ORDERS_AGE,
        )
        for template, bound in zip(_postgres_sql.PRUNE, bounds, strict=True):
            sql = self._dialler.tables.put_into(template)
            await connection.fetch(sql, bound, timeout=self.lease)

    # --- taking --------------------------------------------------------------------------------

    async def take(self, room: int) -> list[Lease]:
        """See `Source`."""
        while True:
            taken = await self._fresh(room)
            if taken:
                return taken
            if self._taker is None or self._is_lost():
                raise TransportError("the connection to the database was lost")
            self._is_wanted = True
            if self._asking is None:
                self._asking = asyncio.create_task(
                    self._ask(self._taker, min(room, _MAX_LEASES)), name="alhena-relay-ask"
                )
            try:
                # Cancelled, the statement goes on: what it brings is for the next call.
                await asyncio.wait({self._asking})
            finally:
                self._is_wanted = False
            asking, self._asking = self._asking, None
            asking.result()

    async def _fresh(self, room: int) -> list[Lease]:
        """Return what has arrived, most of each lease to go; of an older one, see to it first."""
        fresh: list[Lease] = []
        while self._arrived and len(fresh) < room:
            one = self._arrived.popleft()
            if now() - one.asked_at > (1 - _FRESH) * self.lease:
                try:
                    await self.extend([one.lease])
                except LeaseLost:
                    continue
            fresh.append(one.lease)
        return fresh

    async def _ask(self, connection: Connection, room: int) -> None:
        """Lease something, as soon as there is something to lease, and somebody waits for it."""
        while self._is_wanted and not self._arrived:
            if now() >= max(self._scans_at, self._may_scan_at):
                await self._scan(connection, room)  # first: busy lanes would hide all others
            elif self._finished:
                await self._probe(connection, room)
            else:
                await self._wait_for_news()
            if connection.is_lost:
                raise TransportError("the connection to the database was lost")

    async def _wait_for_news(self) -> None:
        """Wait until something was heard or finished with, or until a scan is due."""
        self._news.clear()
        rest = max(self._scans_at, self._may_scan_at) - now()
        if self._finished or rest <= 0:
            return
        try:
            async with asyncio.timeout(rest):
                await self._news.wait()
        except TimeoutError:
            return

    async def _probe(self, connection: Connection, room: int) -> None:
        """Look into the lanes that were finished with."""
        lanes = list(self._finished)[:room]
        for lane in lanes:
            del self._finished[lane]
        await self._lease(connection, _postgres_sql.PROBE, room, listed(lanes))

    async def _scan(self, connection: Connection, room: int) -> None:
        """Go through the lanes, from where the last scan ended."""
        began, start = now(), self._cursor
        self._scans_at = inf
        found = await self._lease(connection, _postgres_sql.SCAN, room, start)
        if found is None:
            self._scans_at = now() + _SECONDS_AFTER_REFUSAL
            return
        count, last = found
        took = now() - began
        if count >= room:  # there may be more behind it
            self._cursor, self._scans_at = last, 0.0
            return
        self._cursor = _FIRST_LANE
        is_whole = start == _FIRST_LANE
        self._scans_at = min(self._scans_at, now() + _SECONDS_BETWEEN_SCANS if is_whole else 0.0)
        if is_whole:
            self._may_scan_at = now() + _SCAN_SHARE * took

    async def _lease(
        self, connection: Connection, template: str, room: int, *arguments: Any
    ) -> tuple[int, int] | None:
        """Lease what one statement finds; return of how many lanes, and the last; None: refused."""
        from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

        token, asked_at = secrets.randbits(62), now()
        slow = asyncio.get_running_loop().call_later(
            _SLOW, self._tell, "no answer so far: is a table locked?"
        )
        try:
            rows = await connection.fetch(
                self._dialler.tables.put_into(template),
                room, token, self.lease, *arguments, timeout=None,
            )  # fmt: skip
        except Refused as error:
            self._tell(str(error))
            if error.is_lasting:
                connection.fail()
                raise TransportError(str(error)) from error
            await asyncio.sleep(_SECONDS_AFTER_REFUSAL)
            return None
        finally:
            slow.cancel()
        self._end_trouble()
        for row in rows:
            if row["event"] is not None:
                self._arrived.append(_Taken(_lease_of(row, token), asked_at))
        return rows[0]["count"], rows[0]["last"]

    def _tell(self, why: str) -> None:
        phase = self._trouble.occurred(now())
        if phase is not None:
            still = " still" if phase is Phase.REMINDER else ""
            _log.warning("alhena: the outbox can%s not be taken from: %s", still, why)

    def _end_trouble(self) -> None:
        lasted = self._trouble.end(now())
        if lasted is not None:
            _log.warning("alhena: the outbox can be taken from again after %.0f s", lasted)

    # --- giving back ---------------------------------------------------------------------------

    async def extend(self, leases: Sequence[Lease]) -> None:
        """See `Source`."""
        confirmed = await asyncio.gather(*(self._wish("extend", lease) for lease in leases))
        if not all(confirmed):
            raise LeaseLost("a lease is over")

    async def done(self, lease: Lease) -> None:
        """See `Source`."""
        await self._finish("done", lease)

    async def bury(self, lease: Lease, letter: bytes) -> None:
        """See `Source`."""
        await self._finish("bury", lease, in_ascii(letter))

    async def _finish(self, verb: str, lease: Lease, letter: str = "") -> None:
        is_done = await self._wish(verb, lease, letter)
        if not is_done:
            raise LeaseLost("the lease is over")

    async def give_back(self, lease: Lease) -> None:
        """See `Source`."""
        try:
            async with asyncio.timeout(1.0):
                await self._wish("give_back", lease)
        except (LeaseLost, TimeoutError):
            _log.debug("alhena: an event could not be given back; it comes again after its lease")

    async def _wish(self, verb: str, lease: Lease, letter: str = "") -> bool:
        """Have something done with a lease; see `Wishes.wish`."""
        assert isinstance(lease.token, Token)  # noqa: S101  made here
        if self._wishes is None or self._is_lost():
            raise LeaseLost("the connection to the database was lost")
        return await self._wishes.wish(verb, lease.token, letter)


def _lease_of(row: Any, token: int) -> Lease:
    return Lease(
        row["body"].encode(),
        row["delivery"],
        Token(row["lane"], row["event"], token),
        age=row["age"],
    )


def heard(task: asyncio.Task[Any]) -> None:
    """Hear of a failure that nobody may wait for any more."""
    if not task.cancelled():
        task.exception()
