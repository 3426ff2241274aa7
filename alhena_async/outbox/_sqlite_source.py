"""Takes events out of a shop's SQLite database: a `Source` for the relay within its own process.

Any number of processes may share the database; one of them delivers at a time, as long as there is
something to deliver. Whose turn it is, is written down with a time: a process that vanishes is
followed by another once that is over. Who delivers knows by itself what it has in hand, so that an
event costs the shop's database its insert and a share in a deletion, and an empty outbox nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from alhena_async._telemetry.sampling import Episode, Phase
from alhena_async.outbox import _sqlite_table as sql
from alhena_async.relay._clock import now
from alhena_async.relay._postgres_table import ORDERS_AGE
from alhena_async.relay._seam import Lease, LeaseLost
from alhena_async.transports import TransportError

__all__ = ["WAIT", "SQLiteSource", "connect", "explained", "undisturbed"]

_log = logging.getLogger("alhena_async")

_LEASE: Final = 10.0
"""Seconds after which another process delivers what one that vanished had in hand."""

_BEAT: Final = _LEASE / 5

_POLL: Final = 0.5
"""Seconds between two looks into the outbox, where nobody says that something was added."""

_BUSY: Final = 1.0
"""Seconds to wait for the shop's own transaction to end, at a time."""

WAIT: Final = 10.0
"""The same, for who waits in a call of their own."""

_PAGE: Final = 500

_PAGES: Final = 20
"""Looked through at a time, however many events wait behind others of their lane."""

_ANY: Final = (1 << 63) - 1

_MOST_LETTERS: Final = 10_000

_LETTERS_AGE: Final = 30 * 86_400.0

_FRESH: Final = 0.8
"""The share of a turn that is to go, or it is renewed before anything is handed out."""

_Row = tuple[int, int, Any, Any]
"""Id, lane, body and time of acceptance."""

_Result = TypeVar("_Result")


@attrs.frozen
class _Token:
    id: int
    lane: int


@attrs.define(eq=False)
class _Ending:
    """What is to be written of an event."""

    id: int
    letter: str | None
    written: asyncio.Future[bool]


def connect(path: Path, *, timeout: float = _BUSY) -> sqlite3.Connection:
    """Open a database that is there; no transaction begins by itself.

    Raises:
        sqlite3.Error: It cannot be.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    database = sqlite3.connect(
        uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    database.text_factory = _text  # any program may have written a row
    return database


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _file_at(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether a transaction of the shop's own was in the way, and will end."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {5, 6}  # SQLITE_BUSY, SQLITE_LOCKED


class _Jobs:
    """Counts the threads that are at a database, and lets a fork wait until there is none.

    A fork copies SQLite's book of the locks that the process holds: made in the middle of a write,
    the child could never write to that file again, the shop's own connections included.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def do(self, work: Callable[[], _Result]) -> _Result:
        """Do something at a database, and not while the process forks."""
        with self._changed:
            self._count += 1
        try:
            return work()
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Wait until nobody is at a database, two seconds at most, and let nobody begin."""
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._count, timeout=2 * _BUSY)

    def after_fork(self) -> None:
        """Let them go on."""
        self._changed.release()

    def in_child(self) -> None:
        """Begin anew: the threads are not here."""
        self._changed = threading.Condition()
        self._count = 0


_jobs: Final = _Jobs()

undisturbed: Final = _jobs.do

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_jobs.before_fork,
        after_in_parent=_jobs.after_fork,
        after_in_child=_jobs.in_child,
    )


def explained(path: Path, error: sqlite3.Error) -> str:
    """Return what keeps an outbox from its work, and what to do."""
    if "no such table" in str(error):
        return f"{path} has no table alhena_outbox: call outbox.create(), or run alhena outbox init"
    if "unable to open" in str(error):
        return (
            f"{path} is no database that this user can open ({error}): where there is none yet, "
            f"call outbox.create(), or run alhena outbox init sqlite:///{path}"
        )
    return f"{path} cannot be used as an outbox ({error})"


class SQLiteSource:
    """A `Source` over one database file.

    Args:
        path: Of the database.
        destination: The API's base URL.
        changed: Set whenever something may have been added; cleared here.
        ended: Called after each event that was removed.
    """

    def __init__(
        self,
        path: Path,
        destination: str,
        changed: asyncio.Event,
        ended: Callable[[], None],
    ) -> None:
        self._path = path
        self._destination = destination
        self._changed = changed
        self._ended = ended
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._token = secrets.randbits(62) + 1
        self._until = 0.0
        """Until when it is our turn, by `now`; 0: it is not."""
        self._upto = 0
        self._cursor = 0
        self._is_behind = False
        """Whether there may be more behind the cursor."""
        self._busy: dict[int, int] = {}
        """The event that is in hand, of each lane that has one, or had one and was not looked into
        since: else a later event would pass an earlier one."""
        self._freed: deque[tuple[int, int]] = deque()
        """Lanes whose next event, behind an id, may be handed out."""
        self._arrived: deque[_Row] = deque()
        """Found, and not yet taken."""
        self._endings: list[_Ending] = []
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()
        """Held while it is taken, renewed or given up."""
        self._trouble = Episode()
        self._file: tuple[int, int] | None = None
        """Which file was opened: its name may be another's by now."""

    @property
    def lease(self) -> float:
        """See `Source`."""
        return _LEASE

    @property
    def destination(self) -> str:
        """See `Source`."""
        return self._destination

    # --- its life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """See `Source`."""
        if self._database is not None:
            return
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alhena-outbox")
        try:
            self._database = await self._run(lambda: connect(self._path))
            self._file = await self._run(lambda: _file_at(self._path))
            await self._run(lambda: self._all(sql.SETTINGS))
        except sqlite3.Error as error:
            await self.close()
            raise TransportError(explained(self._path, error), sent=False) from error
        except (OSError, RuntimeError) as error:  # the file has gone; no more threads
            await self.close()
            raise TransportError(f"{self._path} cannot be used ({error})", sent=False) from error
        self._tasks = [
            asyncio.create_task(self._write(), name="alhena-outbox-write"),
            asyncio.create_task(self._beat(), name="alhena-outbox-beat"),
        ]

    async def close(self) -> None:
        """See `Source`."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._fail_endings("the outbox was closed")
        database, self._database = self._database, None
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                if database is not None:
                    leave = partial(self._leave, database)
                    await asyncio.wrap_future(thread.submit(undisturbed, leave))
            finally:
                thread.shutdown(wait=False)

    def _leave(self, database: sqlite3.Connection) -> None:
        """Let another process have its turn at once, unless something is still in hand."""
        for lane in (*(row[1] for row in self._arrived), *(lane for lane, _ in self._freed)):
            self._busy.pop(lane, None)
        try:
            if not self._busy:
                database.execute(sql.RELEASE, {"token": self._token, "upto": self._upto})
        except sqlite3.Error as error:
            _log.debug("alhena: the outbox's turn ends by itself (%s)", error)
        finally:
            database.close()

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        """Do something in the one thread that touches the database; cancelled, it is done still."""
        if self._thread is None:
            raise TransportError("the outbox is closed", sent=False)
        return await asyncio.wrap_future(self._thread.submit(undisturbed, work))

    def _all(self, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        assert self._database is not None  # noqa: S101  asked for while it is open
        return self._database.execute(statement, parameters).fetchall()

    def _written(self, statement: str, parameters: Any) -> bool:
        """Run one statement that writes; return whether it changed anything."""
        assert self._database is not None  # noqa: S101  asked for while it is open
        return self._database.execute(statement, parameters).rowcount > 0

    # --- whose turn it is ----------------------------------------------------------------------

    async def _has_turn(self) -> bool:
        """Return whether this process delivers; where nobody does, take the turn."""
        async with self._turn:
            if self._until - now() > _FRESH * _LEASE:
                return True
            if self._until > now():
                await self._renew()
                return True
            return await self._take_turn()

    async def _take_turn(self) -> bool:
        asked = now()
        given = {"token": self._token, "now": asked, "lease": _LEASE}
        if not await self._run(lambda: self._written(sql.ACQUIRE, given)):
            return False
        [(version, _destination, _token, _until, upto)] = await self._run(
            lambda: self._all(sql.SETTINGS)
        )
        if version != sql.VERSION:
            raise LeaseLost(f"its outbox is of version {version} by now: start this process anew")
        self._until, self._upto, self._cursor = asked + _LEASE, upto, 0
        self._busy.clear()
        self._freed.clear()
        self._arrived.clear()
        return True

    async def _rest(self) -> None:
        """Let others have their turn as long as there is nothing to do."""
        async with self._turn:
            if self._until and not self._busy and not self._endings:
                self._until = 0.0
                given = {"token": self._token, "upto": self._upto}
                await self._run(lambda: self._written(sql.RELEASE, given))
        try:
            async with asyncio.timeout(_POLL):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _beat(self) -> None:
        """Keep the turn as long as there is something to do."""
        while True:
            await asyncio.sleep(_BEAT)
            async with self._turn:
                if not self._until:
                    continue
                try:
                    await self._renew()
                except (LeaseLost, sqlite3.Error) as error:
                    _log.debug("alhena: the outbox's turn was not renewed (%s)", error)

    async def _renew(self) -> None:
        """Let the turn begin anew.

        Raises:
            LeaseLost: It is over.
            sqlite3.Error: The database was busy.
        """
        asked = now()
        given = {"token": self._token, "now": asked, "until": asked + _LEASE}
        if self._until <= asked or not await self._run(lambda: self._written(sql.RENEW, given)):
            self._until = 0.0
            raise LeaseLost("another process delivers the outbox by now")
        self._until = asked + _LEASE

    # --- taking --------------------------------------------------------------------------------

    async def take(self, room: int) -> list[Lease]:
        """See `Source`."""
        while True:
            try:
                if await self._find(room):
                    if self._until - now() < _FRESH * _LEASE:
                        continue  # the process stood still meanwhile
                    rows = [self._arrived.popleft() for _ in range(min(room, len(self._arrived)))]
                    return [self._lease_of(row) for row in rows]
                self._end_trouble()
                if not self._is_behind:
                    await self._rest()
            except sqlite3.Error as error:
                if not _is_busy(error):
                    raise TransportError(explained(self._path, error)) from error
                self._tell(explained(self._path, error))
                await asyncio.sleep(0.1)
            except LeaseLost as error:
                raise TransportError(str(error)) from error

    def _tell(self, why: str) -> None:
        phase = self._trouble.occurred(now())
        if phase is Phase.REMINDER:
            _log.warning("alhena: the outbox still waits for the shop's own transactions: %s", why)

    def _end_trouble(self) -> None:
        self._trouble.end(now())

    async def _find(self, room: int) -> bool:
        """Look for what may be handed out; return whether there is something."""
        if (not self._busy and not await self._run(self._waits)) or not await self._has_turn():
            self._is_behind = False
            return False
        if not self._arrived:
            # In the thread that touches the database: a caller that is cancelled loses nothing.
            await self._run(lambda: self._arrived.extend(self._look(room)))
        return bool(self._arrived)

    def _waits(self) -> bool:
        """Return whether anything waits.

        Raises:
            sqlite3.Error: The database is busy; or its file was replaced, by a backup for instance.
        """
        try:
            is_same = _file_at(self._path) == self._file
        except OSError:
            is_same = False
        if not is_same:
            raise sqlite3.DatabaseError("its file was moved or replaced")
        return bool(self._all(sql.WAITS, (_ANY,))[0][0])

    def _look(self, room: int) -> list[_Row]:
        """Find what may be handed out: behind what was finished, then behind what was seen."""
        found: list[_Row] = []
        while self._freed and len(found) < room:
            lane, behind = self._freed.popleft()
            following = self._all(sql.NEXT, (lane, behind))
            if following and following[0][0] <= self._cursor:
                self._busy[lane] = following[0][0]
                found += following
            else:
                del self._busy[lane]  # what is not seen yet comes by below
        for _ in range(_PAGES):
            page = self._all(sql.HEADS, (self._cursor, _PAGE))
            self._is_behind = len(page) == _PAGE
            for row in page:
                if len(found) >= room:
                    break
                self._cursor = row[0]
                if row[1] not in self._busy:
                    self._busy[row[1]] = row[0]
                    found.append(row)
            if len(found) >= room or not self._is_behind:
                break
        return found

    def _lease_of(self, row: _Row) -> Lease:
        number, lane, body, accepted_at = row
        delivery = 2 if number <= self._upto else 1
        # Whatever stands there: a column's type binds nobody in SQLite.
        age = time.time() - accepted_at if isinstance(accepted_at, float) else 0.0
        return Lease(
            str(body).encode(errors="replace"), delivery, _Token(number, lane), age=max(0.0, age)
        )

    # --- giving back ---------------------------------------------------------------------------

    async def extend(self, leases: Sequence[Lease]) -> None:
        """See `Source`."""
        del leases  # the turn is all there is
        while True:
            async with self._turn:
                try:
                    await self._renew()
                except sqlite3.Error as error:
                    if self._until <= now() or not _is_busy(error):
                        raise LeaseLost(explained(self._path, error)) from error
                else:
                    return
            await asyncio.sleep(0.05)

    async def done(self, lease: Lease) -> None:
        """See `Source`."""
        await self._end(lease, None)

    async def bury(self, lease: Lease, letter: bytes) -> None:
        """See `Source`."""
        await self._end(lease, letter.decode())

    async def give_back(self, lease: Lease) -> None:
        """See `Source`."""
        token = _token(lease)
        if self._busy.get(token.lane) == token.id:
            self._freed.append((token.lane, token.id - 1))
            self._upto = max(self._upto, token.id)
            self._changed.set()

    async def _end(self, lease: Lease, letter: str | None) -> None:
        """Have an event removed, together with others.

        Raises:
            LeaseLost: It was not: another process delivers by now, or the database was busy.
        """
        token = _token(lease)
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._endings.append(_Ending(token.id, letter, written))
        self._work.set()
        if not await written:
            raise LeaseLost("another process delivers the outbox by now")
        if self._busy.get(token.lane) == token.id:
            self._freed.append((token.lane, token.id))
            self._changed.set()
        self._ended()

    async def _write(self) -> None:
        """Write what has ended, all of it in one transaction, for as long as it is our turn."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._endings:
                endings, self._endings = self._endings, []
                try:
                    answer = await self._written_in_time(endings)
                except BaseException:
                    self._endings = endings + self._endings
                    raise
                for ending in endings:
                    if not ending.written.done():
                        ending.written.set_result(answer)

    async def _written_in_time(self, endings: list[_Ending]) -> bool:
        while self._until > now():
            try:
                return await self._run(lambda: self._remove(endings))
            except sqlite3.Error as error:
                _log.debug("alhena: the outbox is busy (%s)", error)
                await asyncio.sleep(0.05)
        return False

    def _remove(self, endings: list[_Ending]) -> bool:
        """Delete what has ended, with its letters, if it is still our turn."""
        database = self._database
        assert database is not None  # noqa: S101  it is open as long as the task runs
        database.execute("BEGIN IMMEDIATE")
        try:
            mine: bool = database.execute(sql.SETTINGS).fetchone()[2] == self._token
            if mine:
                letters = [(one.id, one.letter) for one in endings if one.letter is not None]
                database.executemany(sql.BURY, letters)
                if letters:
                    database.execute(sql.PRUNE, {"most": _MOST_LETTERS, "age": _LETTERS_AGE})
                delivered = [(one.id,) for one in endings if one.letter is None]
                database.executemany(sql.KEEP_ORDER, delivered)
                database.execute(sql.PRUNE_ORDERS, {"age": ORDERS_AGE})
                database.executemany(sql.DONE, [(one.id,) for one in endings])
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return mine

    def _fail_endings(self, why: str) -> None:
        endings, self._endings = self._endings, []
        for one in endings:
            if not one.written.done():
                one.written.set_exception(LeaseLost(why))
                one.written.exception()  # perhaps nobody waits any more


def _token(lease: Lease) -> _Token:
    assert isinstance(lease.token, _Token)  # noqa: S101  made here
    return lease.token
