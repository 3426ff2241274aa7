"""Takes batches of lines to a client, and takes account of how each event ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from alhena_async import AlhenaClient, Receipt
from alhena_async.cli.pacing import Pacer
from alhena_async.cli.progress import ProgressFile
from alhena_async.cli.reading import Batch
from alhena_async.cli.records import Record
from alhena_async.cli.rejects import RejectsFile
from alhena_async.cli.tally import Tally, is_settled, refusal_of
from alhena_async.events import CheckoutEvent

__all__ = ["Sender"]


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
