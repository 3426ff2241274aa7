"""The API in memory: a transport that records events and fails as it is told."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Unpack

import attrs

from alhena_async.emulator import (
    Facts,
    FaultKind,
    Preconditions,
    Recorded,
    Recordings,
    Refused,
    Tickets,
)
from alhena_async.emulator.contract import Cart, Checkout, EventKind, Refusal, Visitor, read_event
from alhena_async.emulator.gauge import Gauge
from alhena_async.emulator.ledger import Ledger
from alhena_async.emulator.recordings import T
from alhena_async.emulator.records import recorded as record_of
from alhena_async.emulator.replies import default_error_body, reply_to
from alhena_async.emulator.store import STATUSES, Store
from alhena_async.emulator.wanted import HasFingerprints, Wanted, pair_of
from alhena_async.outcomes import ErrorCode
from alhena_async.transports import Endpoint, Reply, TransportError

__all__ = ["Answer", "MemoryTransport", "Sent"]

_KINDS = {Endpoint.CART: EventKind.CART, Endpoint.CHECKOUT: EventKind.CHECKOUT}


@attrs.frozen(kw_only=True)
class Sent:
    """A request as it arrived."""

    at: float
    """The event loop's time."""
    endpoint: Endpoint
    payload: dict[str, Any]
    """The decoded body."""

    @property
    def fingerprint(self) -> str:
        """The visitor's."""
        return str(self.payload.get("user_fingerprint"))


Answer = Reply | Exception | None
"""A reply, an error to raise instead of one, or None: never an answer."""
_MakesAnswer = Callable[[Sent], Answer]
_Reading = Cart | Checkout | Refusal


@attrs.define(kw_only=True)
class _Rule:
    """What the requests get that meet some facts."""

    wanted: Wanted
    left: int
    """For how many more requests; no matter for an endless one."""
    answer: Answer | _MakesAnswer | ErrorCode
    """An `ErrorCode` refuses as the API does."""
    records: bool
    """Whether the event is judged and recorded before it gets the answer."""


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
        tickets: Tickets | str = Tickets.ALL,
        preconditions: Preconditions | str = Preconditions.OFF,
    ) -> None:
        self.latency = latency
        self.sent: list[Sent] = []
        """Every request, in order of arrival."""
        self.opened = 0
        """How often it was opened."""
        self.closed = 0
        """How often it was closed."""
        self._counted: list[_Rule] = []
        self._endless: deque[_Rule] = deque()
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
        self._tell(ErrorCode(code), times, facts)

    def throttle(
        self, retry_after: float | None = None, *, times: int | None = 1, **facts: Unpack[Facts]
    ) -> None:
        """Answer 429; nothing is recorded.

        Args:
            retry_after: Seconds, sent as `Retry-After`. None: no such header.
            times: For how many requests, default 1. None: until `recover`.
            **facts: Only for requests that meet them; as for `recorded`.
        """
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        self._tell(Reply(429, b"", headers), times, facts)

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
        self._tell(TransportError(f"{words} (as the test said)", sent=sent), times, facts, recorded)

    def hang(
        self, *, recorded: bool = False, times: int | None = 1, **facts: Unpack[Facts]
    ) -> None:
        """Never answer; the client's own timeout ends it.

        Args:
            recorded: Whether the event is recorded all the same.
            times: For how many requests, default 1. None: until `recover`.
            **facts: Only for requests that meet them; as for `recorded`.
        """
        self._tell(None, times, facts, recorded)

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
        self._tell(answer, times, facts, recorded)

    def recover(self) -> None:
        """Answer as the API again: forget all that `refuse` and the others said."""
        self._counted.clear()
        self._endless.clear()

    def reset(self) -> None:
        """Forget all that was sent and recorded, and all that it was told; tickets stay."""
        self.recover()
        self.sent.clear()
        self._gauge.clear()
        self._store.clear()

    def open_ticket(self, visitor: HasFingerprints | tuple[str, str]) -> None:
        """Give a visitor an active ticket (matters with `tickets="opened"`)."""
        self._store.ledger.open_ticket(Visitor(*pair_of(visitor)))

    def close_ticket(self, visitor: HasFingerprints | tuple[str, str]) -> None:
        """Take a visitor's ticket away; no effect without one."""
        self._store.ledger.close_ticket(Visitor(*pair_of(visitor)))

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
                raise answer
            assert isinstance(answer, Reply)  # noqa: S101  the future above is never done
            return answer

    # --- inside --------------------------------------------------------------------------------

    def _look(self, read: Callable[[Store], T]) -> T:
        return read(self._store)

    def _tell(
        self,
        answer: Answer | _MakesAnswer | ErrorCode,
        times: int | None,
        facts: Facts,
        records: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, or None, not {times}")
        wanted = Wanted.of(facts, Facts.__optional_keys__)
        rule = _Rule(wanted=wanted, left=times or 0, answer=answer, records=records)
        if times is None:
            self._endless.appendleft(rule)
        else:
            self._counted.append(rule)

    def _decide(self, kind: EventKind, body: bytes, sent: Sent, reading: _Reading) -> Answer:
        rule = self._rule_for(reading, body)
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

    def _judge(self, kind: EventKind, body: bytes, reading: _Reading) -> Reply:
        return _reply_to(self._store.settle(kind, body, reading))

    def _rule_for(self, reading: _Reading, body: bytes) -> _Rule | None:
        met = _Met(reading, body)
        for rule in self._counted:
            if met.by(rule):
                rule.left -= 1
                if not rule.left:
                    self._counted.remove(rule)
                return rule
        return next((rule for rule in self._endless if met.by(rule)), None)


class _Met:
    """A request, and whether it meets a rule's facts; made into a record where there are any."""

    def __init__(self, reading: _Reading, body: bytes) -> None:
        self._reading = reading
        self._body = body
        self._record: Recorded | None = None

    def by(self, rule: _Rule) -> bool:
        if not rule.wanted.facts:
            return True
        if isinstance(self._reading, Refusal):
            return False
        if self._record is None:
            self._record = record_of(self._reading, self._body, seq=0, at=0.0)
        return rule.wanted.meets(self._record)


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
