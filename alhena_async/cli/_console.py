"""The terminal: a progress bar where there is one, a plain line now and then where there is none.

Progress and notes go to standard error, results to standard output. Whatever comes from a file,
the API or the command line passes through `clean`, and is never read as markup.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TextIO

import attrs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alhena_async.cli._format import clean, count, duration, per_second

_WINDOW: Final = 10.0
"""Seconds of the past that the rate is measured over."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """Where a run stands."""

    done: int
    """Lines of which no more is to come."""
    total: int | None = None
    """All lines; None while that is not known."""
    skipped: int = 0
    """Those of `done` that cost nothing: an earlier run settled them."""
    trouble: str = ""
    """What holds it up, if anything does."""
    noun: str = "lines"
    """What is counted."""


class Meter:
    """Turns snapshots into a rate and a time left. The caller's clock is an argument."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def take(self, now: float, snapshot: Snapshot) -> str:
        """Take a snapshot, and return `1,234/s  8 s left` as far as that can be said."""
        work = snapshot.done - snapshot.skipped
        self._samples.append((now, work))
        while now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        began, first = self._samples[0]
        elapsed, made = now - began, work - first
        if elapsed <= 0 or made <= 0:
            return "0/s"
        told = per_second(made, elapsed)
        if snapshot.total is None or snapshot.done >= snapshot.total:
            return told
        left = (snapshot.total - snapshot.done) * elapsed / made
        return f"{told}  {duration(left)} left"


def counted(snapshot: Snapshot) -> str:
    """Return `2,474 of 5,754 lines`."""
    if snapshot.total is None:
        return f"{count(snapshot.done)} {snapshot.noun}"
    return f"{count(snapshot.done)} of {count(snapshot.total)} {snapshot.noun}"


def share(snapshot: Snapshot) -> str:
    """Return `43%`; empty while the total is not known. 100% is all, never nearly all."""
    if not snapshot.total:
        return ""
    return f"{min(100, 100 * snapshot.done // snapshot.total)}%"


_WIDE: Final = 10_000


class Printer(Console):
    """A console that falls silent where its stream is gone: a closed pipe, a full disk.

    Args:
        stream: Where to print.
        on_failure: Called with what went wrong when it falls silent; not for a closed pipe, whose
            reader has seen enough.
    """

    def __init__(
        self, stream: TextIO, on_failure: Callable[[OSError], object] = lambda _: None
    ) -> None:
        # FORCE_COLOR and the like must not put escapes into a pipe, so the stream itself decides.
        terminal = is_terminal(stream)
        super().__init__(
            file=stream,
            force_terminal=terminal,
            force_interactive=terminal,
            no_color=None if terminal else True,
            emoji=False,
            markup=False,
            highlight=False,
            width=None if terminal else 100,
        )
        self._on_failure = on_failure

    def on_broken_pipe(self) -> None:
        """Fall silent; rich would end the process."""
        self._fall_silent()

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            self._fall_silent()
            self._on_failure(error)

    def _fall_silent(self) -> None:
        self.quiet = True
        del self._buffer[:]
        # What the stream still holds would fail once more when the process ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.file.fileno())
        os.close(null)


class Whole:
    """Shows something at least as wide as it needs to be: a terminal breaks what is too long.

    Args:
        inner: What to show. Print it with `crop=False`.
    """

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it, for rich."""
        wide = options.update(width=_WIDE)
        needed = Measurement.get(console, wide, self._inner).minimum
        yield from console.render(
            self._inner, options.update(width=max(options.max_width, min(needed, _WIDE)))
        )


def is_terminal(stream: TextIO) -> bool:
    """Return whether lines of a stream can be drawn over."""
    return stream.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


_FRAME: Final = 0.1

_PLAIN_LINE: Final = 5.0
"""Seconds between two progress lines without a terminal."""


class Screen:
    """Where a command shows what it does. Where a stream is gone, the run goes on without it."""

    def __init__(self) -> None:
        self._results = Printer(_prepared(sys.stdout), self._lose)
        self._notes = Printer(_prepared(sys.stderr))
        self._live: Live | None = None
        self.exit_status = 0
        """1 when results could not be written, though somebody wanted them."""

    def show(self, *renderables: RenderableType) -> None:
        """Print results, to standard output."""
        for renderable in renderables:
            self._results.print(Whole(renderable), crop=False)

    def say(self, text: str, style: str = "") -> None:
        """Print a line of results, to standard output; a long one is not broken."""
        self._results.print(Text(clean(text, limit=2000), style), soft_wrap=True)

    def write(self, text: str) -> None:
        """Print a line of results as it is: JSON in ASCII, which holds nothing that could hurt."""
        self._results.print(Text(text), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """Print a line about the run, to standard error, above the progress bar."""
        self._notes.print(Text(clean(text, limit=2000), style), soft_wrap=True)

    def abandon(self) -> None:
        """Leave the terminal as it was, at once."""
        if self._live is not None:
            self._live.stop()

    def _lose(self, error: OSError) -> None:
        self.exit_status = 1
        self.note(f"The results cannot be written: {error.strerror}", "bold red")

    @asynccontextmanager
    async def following(self, look: Callable[[], Snapshot]) -> AsyncIterator[None]:
        """Show progress while this is entered.

        Args:
            look: Returns where the run stands; called several times a second.
        """
        follow = self._draw if is_terminal(sys.stderr) else self._tell
        task = asyncio.create_task(follow(look), name="alhena-cli-progress")
        logs = _LogLines(self.note)
        logger = logging.getLogger("alhena_async")
        logger.addHandler(logs)
        try:
            yield
        finally:
            logger.removeHandler(logs)
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                self.note(f"the progress display failed: {error}")

    async def _draw(self, look: Callable[[], Snapshot]) -> None:
        meter = Meter()

        def frame() -> RenderableType:
            return _bar(look(), meter, self._notes.width)

        # No refresh thread: the loop draws, and what it draws is what it knows.
        with Live(
            console=self._notes, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            self._live = live
            try:
                while True:
                    live.update(frame(), refresh=True)
                    await asyncio.sleep(_FRAME)
            finally:
                live.update(frame(), refresh=True)
                self._live = None

    async def _tell(self, look: Callable[[], Snapshot]) -> None:
        meter = Meter()
        meter.take(time.monotonic(), look())
        try:
            while True:
                await asyncio.sleep(_PLAIN_LINE)
                self.note(_line(look(), meter))
        finally:
            self.note(_line(look(), meter))


def _prepared(stream: TextIO) -> TextIO:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a £ must not end the run in an ASCII terminal
    return stream


def _bar(snapshot: Snapshot, meter: Meter, width: int) -> RenderableType:
    # Text first: it must never be cut off; the bar takes what is left.
    text = _line(snapshot, meter, gap="  ")
    room = max(10, min(40, width - len(text) - 4))
    total = snapshot.total
    bar = ProgressBar(
        total=total, completed=snapshot.done, width=room, pulse=total is None, style="grey35",
        complete_style="green", finished_style="green", pulse_style="green",
    )  # fmt: skip
    grid = Table.grid(padding=(0, 2))
    grid.add_row(bar, Text(text, no_wrap=True, overflow="ellipsis"))
    return grid


def _line(snapshot: Snapshot, meter: Meter, gap: str = ", ") -> str:
    parts = (counted(snapshot), share(snapshot), meter.take(time.monotonic(), snapshot))
    told = gap.join(part.replace("  ", gap) for part in parts if part)
    return f"{told}{gap}{clean(snapshot.trouble)}" if snapshot.trouble else told


class _LogLines(logging.Handler):
    """Shows the client's warnings above the bar instead of across it."""

    def __init__(self, note: Callable[[str, str], object]) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(f"{record.levelname.lower()}: {record.getMessage()}", "yellow")
