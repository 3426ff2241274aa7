"""Consoles that outlive what they print to, and tables that are never cut off."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TextIO

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement

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
