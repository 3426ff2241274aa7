"""The terminal: a progress bar where there is one, a plain line now and then where there is none.

Progress and notes go to standard error, results to standard output. Whatever comes from a file,
the API or the command line passes through `clean`, and is never read as markup. Where a stream is
gone (a closed pipe, a full disk), the run goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TextIO

import attrs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from alhena_async.cli._format import clean, count


@attrs.frozen(kw_only=True)
class Snapshot:
    """Where a run stands."""

    done: int
    """Lines of which no more is to come."""
    total: int | None = None
    """All lines; None while that is not known."""
    trouble: str = ""
    """What holds it up, if anything does."""
    noun: str = "lines"
    """What is counted."""

    def counted(self) -> str:
        """Return `2,474 of 5,754 lines`."""
        of_all = "" if self.total is None else f" of {count(self.total)}"
        return f"{count(self.done)}{of_all} {self.noun}"


_WIDE: Final = 10_000


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
        self._results = _console(sys.stdout)
        self._notes = _console(sys.stderr)
        self.exit_status = 0
        """1 when results could not be written, though somebody wanted them."""

    def show(self, *renderables: RenderableType) -> None:
        """Print results, to standard output."""
        for renderable in renderables:
            self._print(self._results, Whole(renderable), crop=False)

    def say(self, text: str, style: str = "") -> None:
        """Print a line of results, to standard output; a long one is not broken."""
        self._print(self._results, Text(clean(text, limit=2000), style), soft_wrap=True)

    def write(self, text: str) -> None:
        """Print a line of results as it is: JSON in ASCII, which holds nothing that could hurt."""
        self._print(self._results, Text(text), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """Print a line about the run, to standard error, above the progress bar."""
        self._print(self._notes, Text(clean(text, limit=2000), style), soft_wrap=True)

    def _print(self, console: Console, what: RenderableType, **how: Any) -> None:
        try:
            console.print(what, **how)
        except OSError as error:
            self._go_on_without(console, error)

    def _go_on_without(self, console: Console, error: OSError) -> None:
        console.quiet = True
        # What the stream still holds would fail once more when the process ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, console.file.fileno())
        os.close(null)
        # The reader of a closed pipe has seen enough.
        if console is self._results and not isinstance(error, BrokenPipeError):
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
        # No refresh thread: the loop draws, and what it draws is what it knows.
        bar = Progress(
            *_columns(), console=self._notes, auto_refresh=False, expand=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        try:
            with bar:
                await _drawn(bar, look)
        except OSError as error:
            self._go_on_without(self._notes, error)

    async def _tell(self, look: Callable[[], Snapshot]) -> None:
        try:
            while True:
                await asyncio.sleep(_PLAIN_LINE)
                self.note(_line(look()))
        finally:
            self.note(_line(look()))


class _Console(Console):
    """A console that raises for a closed pipe as for any other stream that is gone."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise; rich would end the process."""
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a £ must not end the run in an ASCII terminal
    # FORCE_COLOR and the like must not put escapes into a pipe, so the stream itself decides.
    terminal = is_terminal(stream)
    return _Console(
        file=stream,
        force_terminal=terminal,
        force_interactive=terminal,
        no_color=None if terminal else True,
        emoji=False,
        markup=False,
        highlight=False,
        width=None if terminal else 100,
    )


def _columns() -> list[ProgressColumn]:
    cut_short = Column(overflow="ellipsis", no_wrap=True)
    return [
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counted]}", markup=False),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False, table_column=cut_short),
    ]


async def _drawn(bar: Progress, look: Callable[[], Snapshot]) -> None:
    task = bar.add_task("", total=None, counted="")

    def draw() -> None:
        now = look()
        bar.update(
            task,
            completed=now.done,
            total=now.total,
            description=clean(now.trouble),
            counted=now.counted(),
            refresh=True,
        )

    try:
        while True:
            draw()
            await asyncio.sleep(_FRAME)
    finally:
        draw()


def _line(now: Snapshot) -> str:
    percent = f", {100 * now.done // now.total}%" if now.total else ""
    trouble = f", {clean(now.trouble)}" if now.trouble else ""
    return f"{now.counted()}{percent}{trouble}"


class _LogLines(logging.Handler):
    """Shows the client's warnings above the bar instead of across it."""

    def __init__(self, note: Callable[[str, str], object]) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note(f"{record.levelname.lower()}: {record.getMessage()}", "yellow")
