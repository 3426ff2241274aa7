"""Takes batches of lines to a client, and takes account of how each event ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from alhena_async import AlhenaClient, Observer, Outcome, OutcomeStatus, Receipt
from alhena_async.cli._input import Batch
from alhena_async.cli._lines import Record
from alhena_async.cli._progress import ProgressFile
from alhena_async.cli._rejects import RejectsFile
from alhena_async.cli._tally import Tally, count_cause, is_settled, refusal_of
from alhena_async.events import CheckoutEvent, Event

__all__ = ["Sender"]

_CATCH_UP: Final = 0.05
"""Seconds of lateness that are made good: a loop wakes late, and the rate should hold anyway."""


class Pacer:
    """Answers how long to wait before each event. The caller's clock is an argument.

    Args:
        rate: Events a second at most; None (default) sets no bound.
        speed: Follow the timestamps at this many times their speed: 1 takes as long as the day
            took, 60 turns an hour into a minute. None (default) does not look at them.
    """

    def __init__(self, *, rate: float | None = None, speed: float | None = None) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._speed = speed
        self._free_at: float | None = None
        self._origin: tuple[float, float] | None = None

    def delay(self, now: float, at: float | None) -> float:
        """Return the seconds to wait from now on, 0 or more, and take the place.

        Args:
            now: The caller's clock, in seconds.
            at: The event's timestamp, in seconds since any fixed moment; None when it has none.
        """
        due = max(now, self._by_timestamp(now, at))
        if self._interval:
            free_at = now if self._free_at is None else max(self._free_at, now - _CATCH_UP)
            due = max(due, free_at)
            self._free_at = (due if due > now else free_at) + self._interval
        return due - now

    def _by_timestamp(self, now: float, at: float | None) -> float:
        if self._speed is None or at is None:
            return now
        if self._origin is None:
            self._origin = (now, at)
        began, first = self._origin
        return began + (at - first) / self._speed


class Sender:
    """Sends a whole input. At most the client's capacity is outstanding: `track` waits for room.

    Outcomes come by callback, each as soon as it is known: a slow visitor does not keep the
    others' outcomes from the progress file, and no task is made per event.

    Args:
        client: A started client.
        tally: Where everything is counted.
        pacer: When the next event may go.
        rejects: Where lines go that are no events; None counts them only.
        progress: Where settled lines are noted; None: nowhere.
        on_failure: Called once when the progress file cannot be written any more.
    """

    def __init__(
        self,
        client: AlhenaClient,
        tally: Tally,
        *,
        pacer: Pacer | None = None,
        rejects: RejectsFile | None = None,
        progress: ProgressFile | None = None,
        on_failure: Callable[[OSError], object] = lambda _: None,
    ) -> None:
        self._client = client
        self._tally = tally
        self._pacer = pacer
        self._rejects = rejects
        self._progress = progress
        self._on_failure = on_failure
        self._waiting_for_outcomes: asyncio.Future[None] | None = None

    async def send(self, batches: AsyncGenerator[Batch, None]) -> None:
        """Send everything, and return when every event has its outcome.

        Cancelled, it stops where it is: what the client has accepted stays there.

        Raises:
            InputBrokenError: The input ended before its end.
            ClientClosedError: The client failed.
            OSError: The rejects or the progress file cannot be written.
        """
        async with aclosing(batches):
            async for batch in batches:
                await self._send_batch(batch)
        await self._client.flush()
        await self.outcomes()

    async def outcomes(self) -> None:
        """Wait until every event has its outcome. Callbacks come a moment after settlement."""
        if self._tally.outstanding:
            self._waiting_for_outcomes = asyncio.get_running_loop().create_future()
            await self._waiting_for_outcomes

    async def _send_batch(self, batch: Batch) -> None:
        for item in batch.items:
            if isinstance(item, Record):
                await self._send(item)
                continue
            self._tally.take_reject(item)
            if self._rejects is not None:
                self._rejects.write(item)
        self._tally.take_batch(batch)

    async def _send(self, record: Record) -> None:
        if self._pacer is not None:
            delay = self._pacer.delay(asyncio.get_running_loop().time(), record.at)
            if delay > 0:
                await asyncio.sleep(delay)
        if self._progress is not None:
            self._progress.sending(record.number)
        receipt = await self._client.track(record.event)
        self._tally.take_record(record)
        receipt.add_done_callback(partial(self._settled, record.number))

    def _settled(self, number: int, receipt: Receipt) -> None:
        outcome = receipt.outcome
        assert outcome is not None  # noqa: S101  for mypy; it is called once there is one
        value = self._tally.take_outcome(number, outcome)
        if self._progress is not None and is_settled(outcome):
            event = outcome.event
            try:
                self._progress.settled(
                    number,
                    outcome.status.value,
                    code=refusal_of(outcome),
                    value=value,
                    currency=event.currency if isinstance(event, CheckoutEvent) else None,
                )
            except OSError as error:
                self._progress = None
                self._on_failure(error)
        waiting = self._waiting_for_outcomes
        if waiting is not None and not waiting.done() and not self._tally.outstanding:
            waiting.set_result(None)


_LAST: Final = "; the last: "
"""What stands in an outcome's detail before the reason of its last attempt."""


class Trouble(Observer):
    """Keeps the last reason of a failed attempt, and counts events that were given up by theirs."""

    def __init__(self) -> None:
        self.last = ""
        """Why the last attempt failed that did; empty before the first."""
        self.given_up: Counter[str] = Counter()
        """Expired events by reason."""

    def retry(self, event: Event, delay: float, reason: str) -> None:  # noqa: ARG002
        """Take the reason of an attempt that failed."""
        self.last = reason or self.last

    def outcome(self, outcome: Outcome) -> None:
        """Count an event that expired."""
        if outcome.status is not OutcomeStatus.EXPIRED:
            return
        _, _, told = (outcome.detail or "").partition(_LAST)
        # One that expired while it waited has no reason of its own: the API's state was the same.
        self.last = told or self.last
        count_cause(self.given_up, self.last or "it never had its turn")
