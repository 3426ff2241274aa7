"""Reads an input in a thread of its own: neither a slow pipe nor a large file holds up the loop.

It hands over small batches, so that an input is never in memory as a whole.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Container, Iterable
from contextlib import suppress
from typing import Final

import attrs

from alhena_async.cli.parsing import read_line, too_long
from alhena_async.cli.records import Reading, Record, Reject
from alhena_async.cli.source import Identity, InputBrokenError, Line, count_lines, opened

_BATCHES_AHEAD: Final = 2


@attrs.frozen(kw_only=True)
class Batch:
    """Some lines that stand next to each other."""

    items: tuple[Record | Reject, ...]
    """What they hold, in order."""
    upto: int
    """The number of the last line."""
    blank: int = 0
    """How many lines of them hold nothing."""
    skipped: int = 0
    """How many of them an earlier run has settled."""


def batch_of(lines: Iterable[Line], reading: Reading, skip: Container[int] = ()) -> Batch:
    """Read some lines. Pure.

    Args:
        lines: At least one.
        reading: How.
        skip: Numbers of lines to pass over.
    """
    items: list[Record | Reject] = []
    upto = blank = skipped = 0
    for upto, raw, cut in lines:
        if upto in skip:
            skipped += 1
            continue
        item = too_long(upto, raw) if cut else read_line(upto, raw, reading)
        if item is None:
            blank += 1
        else:
            items.append(item)
    return Batch(items=tuple(items), upto=upto, blank=blank, skipped=skipped)


class Reader:
    """An input that is being read. Call `identify`, then iterate over `batches`, then `close`.

    Args:
        path: A file, or `-` for standard input.
        reading: How lines are read.
    """

    def __init__(self, path: str, reading: Reading) -> None:
        self._path = path
        self._reading = reading
        self._skip: Container[int] = ()
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Batch | Exception | None] = asyncio.Queue()
        self._identity: asyncio.Future[Identity] = self._loop.create_future()
        # Of threads, since what waits is one: room for batches, and the word to begin.
        self._room = threading.Semaphore(_BATCHES_AHEAD)
        self._go = threading.Event()
        self._closed = threading.Event()
        self.total: int | None = None
        """How many lines there are, blank ones included; None as long as that is not known."""

    async def identify(self) -> Identity:
        """Open the input and return what tells it from another.

        Raises:
            OSError: It cannot be opened.
            InputBrokenError: It cannot be read.
        """
        # Daemons: one that waits for a pipe nobody writes to must not keep the process alive.
        threading.Thread(target=self._read, name="alhena-cli-reader", daemon=True).start()
        identity = await self._identity
        threading.Thread(target=self._count, name="alhena-cli-census", daemon=True).start()
        return identity

    async def batches(self, skip: Container[int] = ()) -> AsyncGenerator[Batch, None]:
        """Yield the input batch by batch.

        Args:
            skip: Numbers of lines to pass over; not changed by anyone while this goes on.

        Raises:
            InputBrokenError: It cannot be read on. What was yielded before is sound.
        """
        self._skip = skip
        self._go.set()
        while (item := await self._items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
            self._room.release()

    def close(self) -> None:
        """Read no further. Idempotent."""
        self._closed.set()
        self._go.set()
        self._room.release()

    def _read(self) -> None:
        try:
            with opened(self._path) as source:
                self._post(self._tell_identity, source.identity)
                self._go.wait()
                for lines in source.chunks():
                    batch = batch_of(lines, self._reading, self._skip)
                    self._room.acquire()
                    if self._closed.is_set():
                        return
                    self._post(self._items.put_nowait, batch)
            self._post(self._items.put_nowait, None)
        except Exception as error:  # noqa: BLE001  raised again on the event loop
            self._post(self._tell_error, error)

    def _count(self) -> None:
        # A convenience for the progress bar: whatever is wrong here, `_read` tells of it.
        with suppress(OSError, InputBrokenError):
            self.total = count_lines(self._path)

    def _post(self, call: object, item: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody wants it any more
            self._loop.call_soon_threadsafe(call, item)  # type: ignore[arg-type]

    def _tell_identity(self, identity: Identity) -> None:
        if not self._identity.done():
            self._identity.set_result(identity)

    def _tell_error(self, error: Exception) -> None:
        if self._identity.done():
            self._items.put_nowait(error)
        else:
            self._identity.set_exception(error)
