"""Bytes of a file or a pipe -> numbered lines, plain or gzip, one block in memory at a time."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import stat
import threading
import zlib
from collections.abc import AsyncGenerator, Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from os import fstat
from pathlib import Path
from typing import Final, NamedTuple

import attrs

from alhena_async.cli._lines import MAX_LINE_BYTES, Reading, Record, Reject, read_line, too_long
from alhena_async.cli._sniffing import wrong_format

STDIN: Final = "-"

_SUFFIXES: Final = (".gz", ".jsonl", ".ndjson", ".json")

_BLOCK_BYTES: Final = 65_536

_KEPT_OF_TOO_LONG_BYTES: Final = 4096

_GZIP: Final = b"\x1f"


class InputBrokenError(Exception):
    """The input ended in a way that no input should: a cut-off gzip, a disk error."""


class WrongFormatError(InputBrokenError):
    """The input holds no JSON lines at all; the message says what it is."""


class Line(NamedTuple):
    """A line as it stands in the input."""

    number: int
    raw: bytes
    cut: bool
    """Whether it was longer than any line may be, and `raw` is only its beginning."""


@attrs.frozen(kw_only=True)
class Identity:
    """What tells one input from another without reading all of it."""

    size: int | None
    """Bytes; None for a pipe."""
    sha256: str
    """Of the first and the last block of a file; of the first line of a pipe."""
    at: Callable[[int], str] | None = attrs.field(default=None, eq=False, repr=False)
    """Returns what the digest of a file was when it had so many bytes; None for a pipe."""

    def row(self) -> dict[str, int | str | None]:
        """Return what is noted of it."""
        return {"size": self.size, "sha256": self.sha256}

    def has_grown_from(self, earlier: Identity) -> bool:
        """Return whether it is an earlier input to which something was added."""
        if self.size is None or self.at is None or earlier.size is None:
            return False
        return earlier.size < self.size and self.at(earlier.size) == earlier.sha256


class Source:
    """An opened input. Blocks its thread while it reads; use it off the event loop.

    Args:
        raw: The bytes as they are on disk or in the pipe.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._origin = raw.tell() if is_regular(raw) else 0
        self._number = 0
        buffered: io.BufferedReader = io.BufferedReader(raw, _BLOCK_BYTES)
        # A pipe may hand over its bytes one by one, and the first one tells: JSON begins otherwise.
        self._stream: io.BufferedReader | gzip.GzipFile = buffered
        if buffered.peek(1).startswith(_GZIP):
            self._stream = gzip.GzipFile(fileobj=buffered)
        self._first: list[Line] | None = None

    @property
    def file(self) -> tuple[int, int]:
        """Which file it is, under whatever name."""
        status = fstat(self._raw.fileno())
        return status.st_dev, status.st_ino

    def first_lines(self) -> list[Line]:
        """Return the first lines, which are not lost to `chunks`; none of an empty input.

        Raises:
            InputBrokenError: The input cannot be read.
        """
        if self._first is None:
            self._first = next(self._chunks(), [])
        return self._first

    def identity(self) -> Identity:
        """Return what tells this input from another. For a pipe it waits for the first line.

        Raises:
            InputBrokenError: The input cannot be read.
        """
        if is_regular(self._raw):
            return self._identity_at(fstat(self._raw.fileno()).st_size)
        first = self.first_lines()[0].raw if self.first_lines() else b""
        return Identity(size=None, sha256=hashlib.sha256(first).hexdigest())

    def found(self) -> Identity:
        """Return what it was as far as it has been read."""
        return self._identity_at(self._raw.tell()) if is_regular(self._raw) else self.identity()

    def chunks(self) -> Iterator[list[Line]]:
        """Yield the lines in lists that are never empty, each as soon as it could be read.

        Raises:
            InputBrokenError: The input cannot be read on.
        """
        if first := self.first_lines():
            yield first
        yield from self._chunks()

    def count_ends(self) -> int:
        """Read all; return how many lines there are, blank ones included.

        Raises:
            InputBrokenError: The input cannot be read on.
        """
        ends, last = 0, b"\n"
        with _telling():
            while block := self._stream.read1(_BLOCK_BYTES):
                ends += block.count(b"\n")
                last = block[-1:]
        return ends + (last != b"\n")

    def _chunks(self) -> Iterator[list[Line]]:
        with _telling():
            # What is read already can be taken without waiting for more.
            while ahead := self._stream.peek(1):
                yield [self._line() for _ in range(max(1, ahead.count(b"\n")))]

    def _line(self) -> Line:
        self._number += 1
        raw = self._stream.readline(MAX_LINE_BYTES + 1)
        if len(raw) <= MAX_LINE_BYTES or raw.endswith(b"\n"):
            return Line(self._number, raw.removesuffix(b"\n"), cut=False)
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = self._stream.readline(_BLOCK_BYTES)
        return Line(self._number, raw[:_KEPT_OF_TOO_LONG_BYTES], cut=True)

    def _identity_at(self, size: int) -> Identity:
        return Identity(size=size, sha256=self._digest_at(size), at=self._digest_at)

    def _digest_at(self, size: int) -> str:
        """Return the digest of the first and the last block of so many bytes."""
        here = self._raw.tell()
        self._raw.seek(self._origin)
        first = self._raw.read(min(size, _BLOCK_BYTES))
        self._raw.seek(max(0, size - _BLOCK_BYTES))
        last = self._raw.read(min(size, _BLOCK_BYTES))
        self._raw.seek(here)
        return hashlib.sha256(first + last).hexdigest()


def is_regular(raw: io.FileIO) -> bool:
    """Return whether it is a file on a disk, which can be read again."""
    return stat.S_ISREG(fstat(raw.fileno()).st_mode)


@contextmanager
def _telling() -> Iterator[None]:
    """Tell of whatever ends the reading of an input by one error."""
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        raise InputBrokenError(str(error) or type(error).__name__) from error


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """Open a file, or standard input for `-`.

    Raises:
        OSError: The file cannot be opened.
    """
    with ExitStack() as stack:
        # The descriptor itself: a thread that waits in sys.stdin's lock would hang the exit.
        is_stdin = path == STDIN
        raw = io.FileIO(0, closefd=False) if is_stdin else stack.enter_context(io.FileIO(path))
        yield Source(raw)


def stem_of(path: str) -> str:
    """Return what files that belong to an input are named after: its name without its endings."""
    name = "stdin" if path == STDIN else Path(path).name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name or "input"


def count_lines(path: str) -> int | None:
    """Return how many lines a file has, blank ones included; None for what can be read only once.

    Raises:
        OSError: The file cannot be opened.
        InputBrokenError: It cannot be read to its end.
    """
    if path == STDIN or not Path(path).is_file():
        return None
    with opened(path) as source:
        return source.count_ends()


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
        self._file = (0, 0)
        self.total: int | None = None
        """How many lines there are, blank ones included; None as long as that is not known."""
        self.first: Record | Reject | None = None
        """The first line that is not blank, once it is known who this is, if it came soon."""
        self.found: Identity | None = None
        """What the input was when all of it was read; None before that."""

    async def identify(self) -> Identity:
        """Open the input and return what tells it from another.

        Raises:
            OSError: It cannot be opened.
            WrongFormatError: It holds no JSON lines.
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

    def has_grown(self) -> bool:
        """Return whether something was added to a file since all of it was read."""
        if self.found is None or self.found.size is None:
            return False
        try:
            status = fstat(0) if self._path == STDIN else Path(self._path).stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file and status.st_size > self.found.size

    def close(self) -> None:
        """Read no further. Idempotent."""
        self._closed.set()
        self._go.set()
        self._room.release()

    def _read(self) -> None:
        try:
            with opened(self._path) as source:
                self._look_at(source.first_lines())
                self._post(self._tell_identity, source.identity())
                self._go.wait()
                for lines in source.chunks():
                    batch = batch_of(lines, self._reading, self._skip)
                    self._room.acquire()
                    if self._closed.is_set():
                        return
                    self._post(self._items.put_nowait, batch)
                self.found = source.found()
                self._file = source.file
            self._post(self._items.put_nowait, None)
        except Exception as error:  # noqa: BLE001  raised again on the event loop
            self._post(self._tell_error, error)

    def _look_at(self, lines: Sequence[Line]) -> None:
        told = wrong_format(b"".join(line.raw + b"\n" for line in lines))
        if told is not None:
            raise WrongFormatError(told)
        self.first = next(iter(batch_of(lines, self._reading).items), None)

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
