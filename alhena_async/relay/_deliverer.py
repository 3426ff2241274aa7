"""The client inside a relay: what others accepted, through the one client engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from alhena_async._config import Route
from alhena_async._http.transport import HttpTransport
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.lane import LaneState
from alhena_async.client import AlhenaClient
from alhena_async.observers import Observer
from alhena_async.outcomes import OutcomeStatus
from alhena_async.policies import Coalescing, HttpPolicy, QueuePolicy, RetryPolicy
from alhena_async.relay._message import Message
from alhena_async.transports import Transport

__all__ = ["Deliverer"]

_NOBODY: Final = "relay"
"""The client's own company key: every message brings one."""

_LEFT_TO_OTHERS: Final = "the relay stopped first; the broker hands it out again"


class Deliverer(AlhenaClient):
    """Delivers one session's events. Nothing lingers, nothing folds.

    Args:
        destination: The API's base URL.
        fence: Whether anything may be sent: asked before each attempt, and of its connection.
        retry: What is tried again.
        http: How requests travel.
        observers: The user's, and the relay's own.
        room: Events at most.
        max_in_flight: Requests at once, at most.
        max_rate: Requests a second, at most; None: no bound.
        transport: Instead of HTTP; None: HTTP.
    """

    def __init__(
        self,
        *,
        destination: str,
        fence: Callable[[], bool],
        retry: RetryPolicy,
        http: HttpPolicy,
        observers: Sequence[Observer],
        room: int,
        max_in_flight: int,
        max_rate: float | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._assemble(
            _NOBODY,
            Route(
                transport=transport or HttpTransport(destination, http, may_send=fence),
                destination=destination,
                name=destination,
                linger=0.0,
                http=http,
                keeper="another relay",
                fence=fence,
            ),
            queue=QueuePolicy(
                capacity=room,
                lane_capacity=room,
                checkout_reserve=0.0,
                max_in_flight=max_in_flight,
                max_rate=max_rate,
            ),
            retry=attrs.evolve(retry, max_attempts=None),
            coalescing=Coalescing.OFF,
            journal=None,
            observers=observers,
            before_send=None,
            enabled=True,
        )

    def admit(self, message: Message, *, age: float, perhaps_sent: bool) -> Envelope:
        """Let in what was accepted elsewhere; it enters its lane as a replayed event does."""
        loop = self._lifecycle.check_running()
        lane = self._queue.lane_of(message.event, message.company_key)
        return self._queue.admit(
            message.event,
            lane,
            order_id=message.order_id,
            age=age,
            perhaps_sent=perhaps_sent,
            now=loop.time(),
        )

    def give_up(self, envelope: Envelope, detail: str) -> None:
        """End an event that waits for another attempt; one that is on the wire goes on."""
        lane = envelope.lane
        is_on_wire = lane.state is LaneState.TAKEN and lane.taken is envelope
        if not envelope.done() and not is_on_wire:
            self._end(envelope, OutcomeStatus.EXPIRED, detail)

    def leave_rest(self) -> None:
        """End all that is left as kept: the broker has it."""
        for envelope in list(self._queue.leftovers()):
            self._end(envelope, OutcomeStatus.KEPT, _LEFT_TO_OTHERS)

    def _end(self, envelope: Envelope, status: OutcomeStatus, detail: str) -> None:
        now = asyncio.get_running_loop().time()
        self._queue.settle(envelope, envelope.outcome_as(status, now, detail))
