"""One run of a client: when each event may go, how it ended, why nothing gets through.

`Sender` takes batches of events to a client and takes account of how each ends; `Pacer` says when
the next may go; `Trouble` watches the client for the reasons of what fails.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Container
from contextlib import aclosing
from functools import partial
from typing import Final, Protocol

from alhena_async import AlhenaClient, Observer, Outcome, OutcomeStatus, Receipt
from alhena_async.cli._console import Screen, Snapshot
from alhena_async.cli._format import clean, duration, plural
from alhena_async.cli._input import Batch, InputBrokenError
from alhena_async.cli._lines import Record
from alhena_async.cli._rejects import RejectsFile
from alhena_async.cli._signals import STOPPED
from alhena_async.cli._tally import FIRST_EVENTS, Ending, Tally, count_cause
from alhena_async.errors import AlhenaError
from alhena_async.events import Event
from alhena_async.observers import BreakerState, Stats
from alhena_async.outcomes import ErrorCode

__all__ = ["Notes", "Pacer", "Sender", "Source", "Trouble"]

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


class Source(Protocol):
    """Where events come from."""

    @property
    def total(self) -> int | None:
        """How many lines there are; None as long as that is not known."""

    def batches(self, skip: Container[int] = ()) -> AsyncGenerator[Batch, None]:
        """Yield them batch by batch, those passed over that `skip` has the numbers of."""


class Notes:
    """Hears of each event before it is sent and once it has ended. This one keeps nothing."""

    def sending(self, record: Record) -> None:
        """Hear that an event may be sent from now on.

        Raises:
            OSError, AlhenaError: It cannot be noted, and the run ends.
        """

    def not_sent(self, record: Record) -> None:
        """Hear that an event was not handed over after all."""

    def ended(self, record: Record, outcome: Outcome, ending: Ending) -> None:
        """Hear how an event ended.

        Args:
            record: Which.
            outcome: How.
            ending: The same, as the account has it.

        Raises:
            OSError, AlhenaError: It cannot be noted, and the run ends.
        """


class Sender:
    """Sends a whole input, with so many events outstanding at most.

    Outcomes come by callback, each as soon as it is known: a slow visitor does not keep the
    others' outcomes from the notes, and no task is made per event.

    Args:
        client: Started and closed by `run`.
        tally: Where everything is counted.
        trouble: One of the client's observers.
        screen: Where progress is shown.
        drain_timeout: Seconds for what is under way when the run is stopped.
        outstanding: Events handed over and not yet answered, at most.
        pacer: When the next event may go; None: at once.
        notes: Who hears of each event.
        rejects: Where lines go that are no events; None counts them only.
        noun: What is counted.
        company_key: Whose events they are: so many first events wait for an answer that is not
            `COMPANY_NOT_FOUND` before others follow, and without one the run is stopped. None:
            they are of several.
    """

    def __init__(
        self,
        client: AlhenaClient,
        tally: Tally,
        trouble: Trouble,
        screen: Screen,
        *,
        drain_timeout: float,
        outstanding: int,
        pacer: Pacer | None = None,
        notes: Notes | None = None,
        rejects: RejectsFile | None = None,
        noun: str = "lines",
        company_key: str | None = None,
    ) -> None:
        self._client = client
        self._tally = tally
        self._trouble = trouble
        self._screen = screen
        self._drain_timeout = drain_timeout
        self._room = asyncio.Semaphore(outstanding)
        self._pacer = pacer
        self._notes = notes or Notes()
        self._rejects = rejects
        self._noun = noun
        self._company_key = company_key
        self._known = asyncio.Event()
        """Set once the API is seen to know the company, or nobody asks."""
        if company_key is None:
            self._known.set()
        self._scope: asyncio.Timeout | None = None
        self._last_outcome: asyncio.Future[None] | None = None
        self.whole = False
        """Whether all of the input was read and every event has its outcome."""
        self.problem = ""
        """Why the run stopped before its end; empty if it did not, or was cancelled."""
        self.knows_company = True
        """Whether the API knows the company, as far as it has said."""
        self.seconds = 0.0
        """How long it took."""

    @property
    def destination(self) -> str:
        """The base URL of where it sends to."""
        return self._client.base_url

    @property
    def stats(self) -> Stats:
        """The client's counts."""
        return self._client.stats()

    async def run(self, source: Source, skip: Container[int] = ()) -> None:
        """Start the client, send everything, wait for every outcome, close the client.

        Cancelled, it reads no further, waits for what is under way, and re-raises; cancelled once
        more, it waits no longer.

        Args:
            source: What to send.
            skip: Numbers of lines to pass over.
        """
        began = time.monotonic()
        try:
            async with self._screen.following(lambda: self._look(source)):
                await self._run(source.batches(skip))
        finally:
            self.seconds = time.monotonic() - began

    async def _run(self, batches: AsyncGenerator[Batch, None]) -> None:
        await self._client.start()
        try:
            await self._send_all(batches)
        except (InputBrokenError, AlhenaError, OSError) as error:
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            await self._close()
        if self._is_of_no_company:
            self._fail(self._no_company())
        self.whole = not self.problem

    async def _send_all(self, batches: AsyncGenerator[Batch, None]) -> None:
        # No deadline: `_fail` sets one that is over, which is how a callback ends this.
        async with asyncio.timeout(None) as scope, aclosing(batches):
            self._scope = scope
            try:
                async for batch in batches:
                    await self._send_batch(batch)
                await self._client.flush()
                await self._outcomes()
            finally:
                self._scope = None

    async def _close(self) -> None:
        try:
            if self._tally.outstanding and self._drain_timeout:
                self._screen.note(
                    f"Stopping: up to {duration(self._drain_timeout)} for "
                    f"{plural(self._tally.outstanding, 'event')} under way; "
                    "Ctrl-C again ends at once."
                )
            await self._client.close(self._drain_timeout)
        except STOPPED:
            await self._client.close(0)
            raise
        await self._outcomes()

    async def _outcomes(self) -> None:
        """Wait until every event has its outcome. Callbacks come a moment after settlement."""
        if self._tally.outstanding:
            self._last_outcome = asyncio.get_running_loop().create_future()
            await self._last_outcome

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
        if self._tally.accepted >= FIRST_EVENTS:
            await self._known.wait()
        if self._pacer is not None:
            delay = self._pacer.delay(asyncio.get_running_loop().time(), record.at)
            if delay > 0:
                await asyncio.sleep(delay)
        await self._room.acquire()
        self._notes.sending(record)
        try:
            receipt = await self._client.track(record.event, company_key=record.company_key)
        except BaseException:
            self._notes.not_sent(record)
            raise
        self._tally.take_record(record)
        receipt.add_done_callback(partial(self._ended, record))

    def _ended(self, record: Record, receipt: Receipt) -> None:
        outcome = receipt.outcome
        assert outcome is not None  # noqa: S101  for mypy; it is called once there is one
        ending = self._tally.take_outcome(record.number, outcome)
        self._room.release()
        try:
            self._notes.ended(record, outcome, ending)
        except (OSError, AlhenaError) as error:
            self._fail(f"{type(error).__name__}: {error}")
        if not self._is_of_no_company:
            self._known.set()
        elif self._tally.finished == FIRST_EVENTS:
            self._fail(self._no_company())
        waiting = self._last_outcome
        if waiting is not None and not waiting.done() and not self._tally.outstanding:
            waiting.set_result(None)

    @property
    def _is_of_no_company(self) -> bool:
        return self._company_key is not None and self._tally.is_of_no_company

    def _no_company(self) -> str:
        self.knows_company = False
        return (
            f'The API at {self.destination} knows no company key "{self._company_key}": '
            f"{ErrorCode.COMPANY_NOT_FOUND} for the first {plural(self._tally.finished, 'event')}. "
            "Check --company-key and --region."
        )

    def _fail(self, problem: str) -> None:
        """End the sending, unless something has ended it already."""
        if not self.problem:
            self.problem = problem
            if self._scope is not None:
                self._scope.reschedule(asyncio.get_running_loop().time())

    def _look(self, source: Source) -> Snapshot:
        fails = self._client.stats().breaker is not BreakerState.CLOSED
        why = self._trouble.last or "the API fails"
        # What an earlier run has settled costs nothing, so that it would spoil rate and time left.
        skipped = self._tally.skipped
        return Snapshot(
            done=self._tally.done - self._tally.unsettled - skipped,
            total=None if source.total is None else source.total - skipped,
            trouble=f"waiting: {clean(why, limit=120)}" if fails else "",
            noun=self._noun,
        )


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
