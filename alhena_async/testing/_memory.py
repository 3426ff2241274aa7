"""The API in memory: a transport that records events and fails as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from typing import Unpack

from alhena_async.emulator import (
    Facts,
    FaultKind,
    Preconditions,
    Recorded,
    Recordings,
    Refused,
    Tickets,
)
from alhena_async.emulator._assertions import T
from alhena_async.emulator._concurrency import Gauge
from alhena_async.emulator._contract import EventKind, Refusal, read_event
from alhena_async.emulator._endpoints import default_error_body, reply_to
from alhena_async.emulator._ledger import STATUSES, Ledger, PreconditionsName, Store, TicketsName
from alhena_async.outcomes import ErrorCode
from alhena_async.testing._rules import Answer, Reading, Rules, Sent
from alhena_async.transports import Endpoint, Reply, TransportError

__all__ = ["MemoryTransport"]

_KINDS = {Endpoint.CART: EventKind.CART, Endpoint.CHECKOUT: EventKind.CHECKOUT}


class MemoryTransport(Recordings):
    """A transport that is the API: `AlhenaClient("shop", transport=MemoryTransport())`.

    It judges and records events exactly as the emulator does, by the same code: an order id counts
    once, what was recorded can be asked for and asserted on. `refuse`, `throttle`, `fail`, `hang`
    and `answer` tell it to do otherwise: for the next request, the next `times`, or (`times=None`)
    until `recover`, and only for requests that meet the given facts. Of several that apply to a
    request, the counted ones come first, in the order in which they were told, and then the latest
    of the others.

    One that was closed may be opened again: what it recorded stays.

    Args:
        latency: Seconds from a request to its answer; the event is recorded on arrival.
        companies: Known company keys; None: every non-empty key is known.
        tickets: Which visitors have an active ticket: all, or those of `open_ticket`.
        preconditions: How cart events are held against earlier ones.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        companies: Collection[str] | None = None,
        tickets: Tickets | TicketsName = Tickets.ALL,
        preconditions: Preconditions | PreconditionsName = Preconditions.OFF,
    ) -> None:
        self.latency = latency
        self.sent: list[Sent] = []
        """Every request, in order of arrival."""
        self.opened: int = 0
        """How often it was opened."""
        self.closed: int = 0
        """How often it was closed."""
        self._rules = Rules()
        self._gauge = Gauge(_nobody_watches)
        ledger = Ledger(
            companies=companies,
            tickets=Tickets(tickets),
            preconditions=Preconditions(preconditions),
        )
        self._store = Store(ledger, history=1_000_000, statuses={}, on_change=_nobody_watches)

    def __repr__(self) -> str:
        return f"<MemoryTransport requests={self.requests} recorded={self.recorded_count}>"

    # --- what to do ----------------------------------------------------------------------------

    def refuse(
        self, code: ErrorCode | str, *, times: int | None = 1, **facts: Unpack[Facts]
    ) -> None:
        """Refuse with a documented code; nothing is recorded.

        Args:
            code: An `ErrorCode`, or its text. Anything else is for `answer`.
            times: For how many requests, default 1. None: until `recover`.
            **facts: Only for requests that meet them; as for `recorded`.

        Raises:
            ValueError: The code is not documented.
        """
        self._rules.add(ErrorCode(code), times, facts)

    def throttle(
        self, retry_after: float | None = None, *, times: int | None = 1, **facts: Unpack[Facts]
    ) -> None:
        """Answer 429; nothing is recorded.

        Args:
            retry_after: Seconds, sent as `Retry-After`. None: no such header.
            times: For how many requests, default 1. None: until `recover`.
            **facts: Only for requests that meet them; as for `recorded`.
        """
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._rules.add(Reply(429, b"", headers), times, facts)

    def fail(
        self,
        *,
        sent: bool = True,
        recorded: bool = False,
        times: int | None = 1,
        **facts: Unpack[Facts],
    ) -> None:
        """Lose the connection: the client gets a `TransportError`.

        Args:
            sent: Whether the client must reckon that the request arrived. False: no connection
                came about, and it knows.
            recorded: Whether the event was recorded before the connection was lost.
            times: For how many requests, default 1. None: until `recover`.
            **facts: Only for requests that meet them; as for `recorded`.

        Raises:
            ValueError: It was recorded, and never sent.
        """
        if recorded and not sent:
            raise ValueError("what was never sent cannot have been recorded")
        words = "connection lost" if sent else "no connection"
        lost = TransportError(f"{words} (as the test said)", sent=sent)
        self._rules.add(lost, times, facts, records=recorded)

    def hang(
        self, *, recorded: bool = False, times: int | None = 1, **facts: Unpack[Facts]
    ) -> None:
        """Never answer; the client's own timeout ends it.

        Args:
            recorded: Whether the event is recorded all the same.
            times: For how many requests, default 1. None: until `recover`.
            **facts: Only for requests that meet them; as for `recorded`.
        """
        self._rules.add(None, times, facts, records=recorded)

    def answer(
        self,
        answer: Answer | Callable[[Sent], Answer],
        *,
        recorded: bool = False,
        times: int | None = 1,
        **facts: Unpack[Facts],
    ) -> None:
        """Answer with any reply at all, or raise any exception.

        Args:
            answer: A reply, an exception, None (never an answer), or a function that makes one
                of them from the request.
            recorded: Whether the event is judged and recorded first.
            times: For how many requests, default 1. None: until `recover`.
            **facts: Only for requests that meet them; as for `recorded`.
        """
        self._rules.add(answer, times, facts, records=recorded)

    def recover(self) -> None:
        """Answer as the API again: forget all that `refuse` and the others said."""
        self._rules.clear()

    def reset(self) -> None:
        """Forget all that was sent and recorded, and all that it was told; tickets stay."""
        self.recover()
        self.sent.clear()
        self._gauge.clear()
        self._store.clear()

    # --- what to see ---------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests without an answer yet."""
        return self._gauge.now

    @property
    def max_in_flight(self) -> int:
        """The most requests at once so far; give it a latency to see overlap."""
        return self._gauge.highest

    @property
    def max_in_flight_per_visitor(self) -> int:
        """The most requests of one visitor at one company at once so far."""
        return self._gauge.highest_of_a_visitor

    # --- the Transport protocol ----------------------------------------------------------------

    async def open(self) -> None:
        """Count it."""
        self.opened += 1

    async def close(self) -> None:
        """Count it."""
        self.closed += 1

    async def send(self, endpoint: Endpoint, body: bytes) -> Reply:
        """Record the event and answer, or do as it was told.

        Raises:
            TransportError: It was told to.
        """
        kind = _KINDS[endpoint]
        self._store.count_request()
        sent = Sent(
            at=asyncio.get_running_loop().time(), endpoint=endpoint, payload=json.loads(body)
        )
        self.sent.append(sent)
        reading = read_event(kind, body)
        lane = None if isinstance(reading, Refusal) else (reading.company_key, reading.visitor)
        with self._gauge.handling(lane):
            answer = self._decide(kind, body, sent, reading)
            await asyncio.sleep(self.latency)
            if answer is None:
                await asyncio.get_running_loop().create_future()
            if isinstance(answer, Exception):
                raise answer.with_traceback(None)  # or it grows with each raise
            assert isinstance(answer, Reply)  # noqa: S101  the future above is never done
            return answer

    # --- inside --------------------------------------------------------------------------------

    def _look(self, use: Callable[[Store], T]) -> T:
        return use(self._store)

    def _decide(self, kind: EventKind, body: bytes, sent: Sent, reading: Reading) -> Answer:
        rule = self._rules.take(reading, body)
        if rule is None:
            return self._judge(kind, body, reading)
        if isinstance(rule.answer, ErrorCode):
            code = rule.answer
            refused = self._store.refuse(kind, code, STATUSES[code], "as the test said", body)
            return _reply_to(refused)
        if rule.records:
            self._judge(kind, body, reading)
        answer = rule.answer(sent) if callable(rule.answer) else rule.answer
        self._store.count_fault(_fault_kind(answer, records=rule.records))
        return answer

    def _judge(self, kind: EventKind, body: bytes, reading: Reading) -> Reply:
        return _reply_to(self._store.settle(kind, body, reading))


def _reply_to(settled: Recorded | Refused) -> Reply:
    made = reply_to(settled, default_error_body)
    return Reply(made.status, made.body, made.headers)


def _fault_kind(answer: Answer, *, records: bool) -> FaultKind:
    if answer is None:
        return FaultKind.HANG_AFTER if records else FaultKind.HANG
    if isinstance(answer, Reply):
        return FaultKind.STATUS_AFTER if records else FaultKind.STATUS
    return FaultKind.RESET_AFTER if records else FaultKind.RESET_BEFORE


def _nobody_watches() -> None:
    """What a store calls after each change."""
