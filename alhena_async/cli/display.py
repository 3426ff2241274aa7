"""The terminal: a progress bar where there is one, a plain line now and then where there is none.

Progress and notes go to standard error, results to standard output. Whatever comes from a file,
the API or the command line passes through `clean`, and is never read as markup.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TextIO

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alhena_async.cli.meter import Meter, Snapshot, counted, share
from alhena_async.cli.printing import Printer, Whole, is_terminal
from alhena_async.cli.text import clean

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
