"""`alhena demo`: a shop's day, through the real client, into the emulator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Container, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, closing
from decimal import Decimal
from itertools import islice

import attrs
from rich.console import RenderableType

from alhena_async import AlhenaClient
from alhena_async.cli._console import Screen, Snapshot
from alhena_async.cli._emulate import serving
from alhena_async.cli._format import count, plural
from alhena_async.cli._input import Batch, InputBrokenError, Line, Reader, batch_of
from alhena_async.cli._lines import Reading
from alhena_async.cli._options import cannot_read
from alhena_async.cli._sample_day import day_lines
from alhena_async.cli._sending import Sender, Trouble
from alhena_async.cli._signals import Stopping
from alhena_async.cli._summary import counted, outcomes, revenue, run_facts, spaced
from alhena_async.cli._tally import Tally
from alhena_async.emulator import Emulator
from alhena_async.errors import AlhenaError
from alhena_async.observers import Stats
from alhena_async.policies import Coalescing, QueuePolicy, RetryPolicy

_BATCH = 50

_COMPANY = "demo-shop"


@attrs.frozen(kw_only=True)
class DemoSettings:
    """What to show."""

    path: str | None = None
    """A file of events; None: the made-up day."""
    reading: Reading = attrs.field(factory=Reading)
    coalescing: Coalescing = Coalescing.LATEST
    where: str = "127.0.0.1"
    """The page's address, for people."""
    keep: bool = False
    """Leave the page up until Ctrl-C."""
    drain_timeout: float = 5.0
    """Seconds for what is under way when the run is stopped."""


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
        settings: What to show.
        emulator: Where; started and stopped by `run`.
        screen: Where it is told.
    """

    def __init__(self, settings: DemoSettings, emulator: Emulator, screen: Screen) -> None:
        self._settings = settings
        self._emulator = emulator
        self._screen = screen
        self._tally = Tally()
        self._trouble = Trouble()
        self._seconds = 0.0
        self._problem = ""

    async def run(self) -> int:
        """Show it; return the exit status: 0 when all is recorded or refused for a reason.

        Raises:
            CommandError: The file cannot be read, or the port is taken.
        """
        with Stopping(self._screen.abandon) as stopping:
            async with AsyncExitStack() as stack:
                await serving(self._emulator, stack, where=self._settings.where)
                with closing(await self._input(stopping)) as source:
                    self._announce(source.total)
                    stats, whole = await self._replay(source, stopping)
                self._show(stats)
                status = self._conclude(whole=whole) or stopping.exit_status
                if self._settings.keep and not stopping.signalled:
                    self._screen.say(f"Page  {self._emulator.url}  (up until Ctrl-C)", "bold")
                    await stopping.wait()
        return status

    async def _input(self, stopping: Stopping) -> MadeUpDay | Reader:
        if self._settings.path is None:
            return await asyncio.to_thread(MadeUpDay, self._settings.reading)
        reader = Reader(self._settings.path, self._settings.reading)
        try:
            await stopping.run(reader.identify(), name="alhena-cli-open")
        except (OSError, InputBrokenError) as error:
            raise cannot_read(self._settings.path, error) from None
        return reader

    def _announce(self, total: int | None) -> None:
        made_up = f"A made-up shop's day: {plural(total or 0, 'event')}"
        self._screen.say(self._settings.path or made_up, "bold")
        self._screen.say(f"Page  {self._emulator.url}{self._stay()}")

    def _stay(self) -> str:
        return "" if self._settings.keep else "  (while this runs; --keep leaves it up)"

    async def _replay(self, source: MadeUpDay | Reader, stopping: Stopping) -> tuple[Stats, bool]:
        client = AlhenaClient(
            _COMPANY,
            base_url=self._emulator.url,
            coalescing=self._settings.coalescing,
            queue=QueuePolicy(capacity=2_000, linger=0.25, flush_at=1_000),
            retry=RetryPolicy(precondition_retries=0),
            observers=[self._trouble],
        )
        sender = Sender(client, self._tally)
        began = time.monotonic()
        async with self._screen.following(lambda: self._look(source.total)):
            await client.start()
            whole = False
            try:
                whole = await stopping.run(sender.send(source.batches()), name="alhena-cli-send")
            except (InputBrokenError, AlhenaError) as error:
                self._problem = f"{type(error).__name__}: {error}"
            report = await client.close(self._settings.drain_timeout)
            await sender.outcomes()
        self._seconds = time.monotonic() - began
        return report.stats, whole

    def _look(self, total: int | None) -> Snapshot:
        return Snapshot(done=self._tally.done, total=total)

    def _show(self, stats: Stats) -> None:
        tally, page = self._tally, self._emulator.revenue
        blocks: list[RenderableType] = [
            run_facts(tally, stats, self._seconds),
            *outcomes(tally.statuses),
            *counted("Refused because", "Events", tally.codes),
            *counted("Given up because", "Events", self._trouble.given_up),
            *counted("No event because", "Lines", tally.causes),
            *revenue(
                [("Input", tally.offered), ("Recorded", tally.revenue), ("On the page", page)]
            ),
        ]
        self._screen.show(*spaced(blocks))
        self._screen.say("")

    def _conclude(self, *, whole: bool) -> int:
        tally = self._tally
        if self._problem:
            self._screen.say(f"It stopped at line {count(tally.upto)}: {self._problem}", "bold red")
            return 1
        if not whole:
            self._screen.say(f"Stopped at line {count(tally.upto)}.", "bold yellow")
            return 0
        if tally.missing:
            told = f"{plural(tally.missing, 'event')} neither recorded nor refused with a code."
            self._screen.say(told, "bold red")
            return 1
        return self._compare()

    def _compare(self) -> int:
        tally = self._tally
        recorded, page = _without_zeros(tally.revenue), _without_zeros(self._emulator.revenue)
        if recorded != page:
            self._screen.say("The page's revenue differs from what was recorded.", "bold red")
            return 1
        refused = tally.statuses["rejected"] + tally.statuses["unattributed"]
        told = f"{plural(refused, 'refusal')}, each with its code" if refused else "0 refusals"
        same = _without_zeros(tally.offered) == page
        equal = "equals the input's" if same else "equals what was recorded of the input"
        self._screen.say(f"{told}; the page's revenue {equal} to the cent.", "bold green")
        return 0


def _without_zeros(sums: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {currency: value for currency, value in sums.items() if value}
