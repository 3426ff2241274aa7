"""`alhena demo`: a shop's day, through the real client, into the emulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Container, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, closing
from decimal import Decimal
from itertools import islice

import attrs

from alhena_async import AlhenaClient
from alhena_async.cli._console import Screen
from alhena_async.cli._emulate import serving
from alhena_async.cli._format import count, plural
from alhena_async.cli._input import Batch, Line, Reader, batch_of
from alhena_async.cli._lines import Reading
from alhena_async.cli._options import identified
from alhena_async.cli._sample_day import day_lines
from alhena_async.cli._sending import Sender, Trouble
from alhena_async.cli._signals import STOPPED, until_stopped
from alhena_async.cli._summary import endings, revenue, run_facts, spaced, truth
from alhena_async.cli._tally import Tally
from alhena_async.emulator import Emulator
from alhena_async.policies import Coalescing, QueuePolicy, RetryPolicy

_BATCH = 50

_COMPANY = "demo-shop"

_OUTSTANDING = 2_000
"""Events handed over and not yet answered, at most."""

_DRAIN_TIMEOUT = 5.0
"""Seconds for what is under way when the showing is stopped."""


@attrs.frozen(kw_only=True)
class DemoOptions:
    """What to show."""

    file: str | None
    """A path, or `-` for standard input; None: the made-up day."""
    name_from_id: bool
    coalescing: Coalescing
    where: str
    """The page's address, for people."""
    keep: bool
    """Leave the page up until Ctrl-C."""

    @property
    def reading(self) -> Reading:
        """How lines are read."""
        return Reading(name_from_id=self.name_from_id)


class MadeUpDay:
    """The made-up day, read as a file would be."""

    def __init__(self, reading: Reading) -> None:
        self._lines = [Line(number, raw, cut=False) for number, raw in enumerate(day_lines(), 1)]
        self._reading = reading
        self.total: int | None = len(self._lines)

    async def batches(self, skip: Container[int] = ()) -> AsyncGenerator[Batch, None]:
        """Yield the day batch by batch."""
        for lines in _in_groups(self._lines):
            yield batch_of(lines, self._reading, skip)

    def close(self) -> None:
        """Nothing is open."""


def _in_groups(lines: Iterable[Line]) -> Iterator[list[Line]]:
    rest = iter(lines)
    while group := list(islice(rest, _BATCH)):
        yield group


class Demo:
    """One showing.

    Args:
        options: What to show.
        emulator: Where; started and stopped by `run`.
        screen: Where it is told.
    """

    def __init__(self, options: DemoOptions, emulator: Emulator, screen: Screen) -> None:
        self._options = options
        self._emulator = emulator
        self._screen = screen
        self._tally = Tally()
        self._trouble = Trouble()

    async def run(self) -> int:
        """Show it; return the exit status: 0 when all is recorded or refused for a reason.

        Raises:
            CommandError: The file cannot be read, or the port is taken.
        """
        async with AsyncExitStack() as stack:
            await serving(self._emulator, stack, where=self._options.where)
            with closing(await self._source()) as source:
                self._announce(source.total)
                sender = self._sender()
                try:
                    await sender.run(source)
                except STOPPED:
                    self._conclude(sender)
                    raise
                status = self._conclude(sender)
            if self._options.keep:
                self._screen.say(f"Page  {self._emulator.url}  (up until Ctrl-C)", "bold")
                await until_stopped()
        return status

    async def _source(self) -> MadeUpDay | Reader:
        if self._options.file is None:
            return await asyncio.to_thread(MadeUpDay, self._options.reading)
        reader = Reader(self._options.file, self._options.reading)
        await identified(reader, self._options.file)
        return reader

    def _announce(self, total: int | None) -> None:
        made_up = f"A made-up shop's day: {plural(total or 0, 'event')}"
        stay = "" if self._options.keep else "  (while this runs; --keep leaves it up)"
        self._screen.say(self._options.file or made_up, "bold")
        self._screen.say(f"Page  {self._emulator.url}{stay}")

    def _sender(self) -> Sender:
        client = AlhenaClient(
            _COMPANY,
            base_url=self._emulator.url,
            coalescing=self._options.coalescing,
            queue=QueuePolicy(
                capacity=2 * _OUTSTANDING,
                lane_capacity=2 * _OUTSTANDING,
                linger=0.25,
                flush_at=_OUTSTANDING // 2,
            ),
            retry=RetryPolicy(precondition_retries=0),
            observers=[self._trouble],
        )
        return Sender(
            client,
            self._tally,
            self._trouble,
            self._screen,
            drain_timeout=_DRAIN_TIMEOUT,
            outstanding=_OUTSTANDING,
        )

    def _conclude(self, sender: Sender) -> int:
        """Tell of the day; return the exit status of one that was not cancelled."""
        self._show(sender)
        tally = self._tally
        if sender.problem:
            told = f"It stopped at line {count(tally.upto)}: {sender.problem}"
            self._screen.say(told, "bold red")
            return 1
        if not sender.whole:
            self._screen.say(f"Stopped at line {count(tally.upto)}.", "bold yellow")
            return 1
        if tally.unanswered:
            told = f"{plural(tally.unanswered, 'event')} neither recorded nor refused with a code."
            self._screen.say(told, "bold red")
            return 1
        return self._compare()

    def _show(self, sender: Sender) -> None:
        tally = self._tally
        whole = "Made up" if self._options.file is None else "In the file"
        blocks = [
            run_facts(tally, sender.stats, sender.seconds),
            *endings(tally, self._trouble.given_up),
            *revenue(tally, whole, **{"On the page": self._emulator.revenue}),
        ]
        self._screen.show(*spaced(blocks))
        self._screen.say("")

    def _compare(self) -> int:
        tally = self._tally
        recorded = _without_zeros(tally.recorded.sums)
        page = _without_zeros(self._emulator.revenue)
        if recorded != page:
            self._screen.say("The page's revenue differs from what was recorded.", "bold red")
            return 1
        refused = tally.statuses["rejected"] + tally.statuses["unattributed"]
        told = f"{plural(refused, 'refusal')}, each with its code" if refused else "0 refusals"
        same = not tally.rejected and _without_zeros(tally.offered.sums) == page
        equal = "equals the input's" if same else "equals what was recorded of the input"
        for sentence in truth(tally) if tally.rejected else ():
            self._screen.say(sentence, "bold red")
        style = "yellow" if tally.rejected else "bold green"
        self._screen.say(f"{told}; the page's revenue {equal} to the cent.", style)
        return int(tally.rejected > 0)


def _without_zeros(sums: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {currency: value for currency, value in sums.items() if value}
