"""The terminal: a progress bar where there is one, a plain line now and then where there is none.

Progress and notes go to standard error, results to standard output. Whatever comes from a file,
the API or the command line passes through `clean`, and is never read as markup. Where a stream is
gone (a closed pipe, a full disk), the run goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import IO, Any, Final, NoReturn, TextIO

import attrs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from alhena_async.cli._format import clean, count, plural
from alhena_async.outcomes import OutcomeStatus


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


class Grid:
    """A table; where the terminal is too narrow for it, each row becomes lines of `name  value`.

    So numbers and codes stay whole, which people copy and compare.

    Args:
        *columns: With their headings.
    """

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row, a cell for each column."""
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it, for rich."""
        needed = [self._needed(place) for place in range(len(self._columns))]
        if sum(needed) + _GAP * (len(needed) - 1) <= options.max_width:
            yield self._table(needed)
            return
        for number, row in enumerate(self._rows):
            if number:
                yield Text("")
            yield from self._lines(row, options.max_width)

    def _needed(self, place: int) -> int:
        """Return the width that a column needs: of a whole cell, or of the longest word."""
        column = self._columns[place]
        cells = [Text(str(column.header)), *(row[place] for row in self._rows)]
        if not column.no_wrap:
            cells = [word for cell in cells for word in cell.split()]
        return max([column.min_width or 0, *(cell.cell_len for cell in cells)])

    def _table(self, needed: list[int]) -> Table:
        columns = [column.copy() for column in self._columns]
        for column, width in zip(columns, needed, strict=True):
            column.min_width = width
        table = Table(
            *columns, box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold"
        )
        for row in self._rows:
            table.add_row(*row)
        return table

    def _lines(self, row: list[Text], width: int) -> Iterator[Text]:
        names = [str(column.header) for column in self._columns]
        longest = max(map(len, names))
        for name, cell in zip(names, row, strict=True):
            if cell.plain and longest + _GAP + cell.cell_len <= width:
                yield Text.assemble((name.ljust(longest + _GAP), "bold"), cell)
            elif cell.plain:
                yield Text(name, "bold")
                cell.overflow = "ignore"  # a word that is too long stays whole all the same
                yield cell


_GAP: Final = 2


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
        self._left_out = 0
        self.exit_status = 0
        """1 when results could not be written, though somebody wanted them."""

    @property
    def is_gone(self) -> bool:
        """Whether nobody takes results any more."""
        return self._results.quiet

    def clear(self) -> None:
        """Begin at the top of an empty terminal; elsewhere, results follow each other."""
        if self._results.is_terminal:
            self._print(self._results, Control.clear())
            self._print(self._results, Control.home())

    def show(self, *renderables: RenderableType) -> None:
        """Print results, to standard output."""
        self._print_left_out()
        for renderable in renderables:
            self._print(self._results, Whole(renderable), crop=False)

    def say(self, text: str, style: str = "") -> None:
        """Print a sentence of the results, to standard output."""
        self._print_text(self._results, text, style)

    def write(self, text: str) -> None:
        """Print a line of results to be copied, whole: clean text, or JSON in ASCII."""
        self._print(self._results, Text(text), soft_wrap=True)

    def tell(self, line: str, style: str = "") -> None:
        """Print a line of what goes on, to standard output; a terminal cuts it at its width.

        A reader that has stopped to read is not waited for: lines are left out, and counted.

        Args:
            line: Clean text.
            style: Rich's.
        """
        if not _takes_more(self._results.file):
            self._left_out += 1
            return
        self._print_left_out()
        if self._results.is_terminal:
            self._print(self._results, Text(line, style), no_wrap=True, overflow="ellipsis")
        else:
            self._print(self._results, Text(line, style), soft_wrap=True)

    def _print_left_out(self) -> None:
        if self._left_out:
            self._print(self._results, Text(f"({plural(self._left_out, 'line')} not shown)"))
            self._left_out = 0

    def note(self, text: str, style: str = "") -> None:
        """Print a sentence about the run, to standard error, above the progress bar."""
        self._print_text(self._notes, text, style)

    def _print_text(self, console: Console, text: str, style: str) -> None:
        # A terminal's lines end between words; other programs get a line for each sentence.
        whole = Text(clean(text, limit=2000), style)
        self._print(console, whole, soft_wrap=not console.is_terminal)

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


def _takes_more(stream: IO[str]) -> bool:
    """Return whether a line can be written to a stream at once."""
    try:
        return bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):  # not everything that is written to can be asked
        return True


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


_ABANDONED: Final = OutcomeStatus.ABANDONED.value


class _LogLines(logging.Handler):
    """Shows the client's warnings above the bar instead of across it.

    Of what was given up at a run's end the run itself tells, with what to do there.
    """

    def __init__(self, note: Callable[[str, str], object]) -> None:
        super().__init__(logging.WARNING)
        self._note = note
        self.addFilter(lambda record: not hasattr(record, "alhena_abandoned"))
        self.addFilter(lambda record: getattr(record, "alhena_outcome", "") != _ABANDONED)

    def emit(self, record: logging.LogRecord) -> None:
        self._note(f"{record.levelname.lower()}: {record.getMessage()}", "yellow")
