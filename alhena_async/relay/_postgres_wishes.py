"""What a relay wants done with its leases: many at once, each kind of it in one statement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs

from alhena_async.relay import _postgres_sql
from alhena_async.relay._clock import now
from alhena_async.relay._seam import LeaseLost
from alhena_async.transports import TransportError

if TYPE_CHECKING:
    from alhena_async.relay._postgres_connection import Connection
    from alhena_async.relay._postgres_table import Tables

__all__ = ["Token", "Wishes", "listed"]

_SECONDS_AFTER_REFUSAL: Final = 0.5

_VERBS: Final = {
    "done": _postgres_sql.DONE,
    "bury": _postgres_sql.BURY,
    "extend": _postgres_sql.EXTEND,
    "give_back": _postgres_sql.GIVE_BACK,
}

_LOST: Final = "the connection to the database was lost"


@attrs.frozen(eq=False)
class Token:
    """What the database knows a lease by."""

    lane: int
    event: int
    number: int
    """What the taking was given: no other has it."""


@attrs.define(eq=False)
class _Wish:
    """Something to be done with a lease, and who waits for it."""

    token: Token
    answer: asyncio.Future[bool]
    """Whether it was ours, and was done."""
    letter: str = ""


class Wishes:
    """Gathers what is wanted, and does it on one connection.

    Args:
        connection: Open.
        tables: Their names.
        lease: Seconds that a lease holds.
        on_finished: Is told of each event that is out of its lane for good.
        on_refused: Is told why a statement was not done; it is tried again.
    """

    def __init__(
        self,
        connection: Connection,
        tables: Tables,
        lease: float,
        *,
        on_finished: Callable[[Token], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._lease = lease
        self._on_finished = on_finished
        self._on_refused = on_refused
        self._waiting: dict[str, list[_Wish]] = {}
        self._news = asyncio.Event()

    async def wish(self, verb: str, token: Token, letter: str = "") -> bool:
        """Have something done with a lease; return whether it was ours still, and is done.

        Args:
            verb: `done`, `bury`, `extend` or `give_back`.
            token: Of the lease.
            letter: Of what is buried.

        Raises:
            LeaseLost: The connection is lost, before it was certainly done.
        """
        if self._connection.is_lost:
            raise LeaseLost(_LOST)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(verb, []).append(_Wish(token, answer, letter))
        self._news.set()
        return await answer

    def fail(self) -> None:
        """Tell all who wait that the connection is lost, and let `run` end."""
        waiting, self._waiting = self._waiting, {}
        for several in waiting.values():
            _fail(several, _LOST)
        self._news.set()

    async def run(self) -> None:
        """Do what is wanted, until the connection is lost."""
        while not self._connection.is_lost:
            await self._news.wait()
            self._news.clear()
            waiting, self._waiting = self._waiting, {}
            for verb, several in waiting.items():
                try:
                    await self._do(verb, several)
                finally:
                    _fail(several, _LOST)

    async def _do(self, verb: str, wishes: list[_Wish]) -> None:
        """Do one kind of what is wanted, for as long as the leases may last."""
        from alhena_async.relay._postgres_connection import Refused  # noqa: PLC0415

        ends_at = now() + self._lease
        while True:
            try:
                confirmed = await self._ask(verb, wishes)
            except TransportError as error:
                return _fail(wishes, str(error))
            except Refused as error:
                self._on_refused(str(error))
                if error.is_lasting or now() >= ends_at:
                    return _fail(wishes, str(error))
                await asyncio.sleep(_SECONDS_AFTER_REFUSAL)
            else:
                return self._answer(verb, wishes, confirmed)

    async def _ask(self, verb: str, wishes: list[_Wish]) -> set[int]:
        """Return the events of which it is done."""
        more: tuple[Any, ...] = ()
        if verb == "bury":
            more = (json.dumps([one.letter for one in wishes]),)
        elif verb == "extend":
            more = (self._lease,)
        rows = await self._connection.fetch(
            self._tables.put_into(_VERBS[verb]),
            listed(one.token.lane for one in wishes),
            listed(one.token.event for one in wishes),
            listed(one.token.number for one in wishes),
            *more,
            timeout=self._lease,
        )
        return {row["event"] for row in rows}

    def _answer(self, verb: str, wishes: list[_Wish], confirmed: set[int]) -> None:
        for wish in wishes:
            is_done = wish.token.event in confirmed
            if not wish.answer.done():
                wish.answer.set_result(is_done)
            if is_done and verb in {"done", "bury"}:
                self._on_finished(wish.token)


def listed(numbers: Iterable[int]) -> str:
    """Return numbers as the statements take them: of an array, the driver would ask the server."""
    return ",".join(map(str, numbers))


def _fail(wishes: list[_Wish], why: str) -> None:
    for wish in wishes:
        if not wish.answer.done():
            wish.answer.set_exception(LeaseLost(why))
            wish.answer.exception()  # perhaps nobody waits any more
