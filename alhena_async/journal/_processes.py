"""What the processes of a directory tell of themselves, for people: read only, each file by itself.

A file may be cut off, older or newer than this version, or made by somebody else: then it is a
problem with a name, and the others are read all the same.
"""

from __future__ import annotations

import enum
import json
import os
import re
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

import attrs

from alhena_async.journal._directory import check_exists
from alhena_async.journal._locks import SAFE, is_held
from alhena_async.journal._reports import (
    COUNTS,
    MAX_OUTCOMES_BYTES,
    OUTCOMES,
    VERSION,
    names_of,
    seal_of,
)
from alhena_async.observers import BreakerState, Stats
from alhena_async.outcomes import OutcomeStatus
from alhena_async.transports import Wire

__all__ = ["OutcomeReader", "ProcessReport", "ProcessState", "ToldOutcome", "read_processes"]


class ProcessState(enum.StrEnum):
    """Whether a process is there, and how it went."""

    LIVING = "living"
    ENDED = "ended"
    """It closed its client."""
    DIED = "died"
    """It was killed, or ended without closing its client: its counts are its last but seconds."""


@attrs.frozen(kw_only=True)
class ProcessReport:
    """What one process counts."""

    path: Path
    pid: int
    """In its own PID namespace: two containers may each have a process 1."""
    state: ProcessState
    begun: float
    """When its client was started, in seconds since the epoch."""
    at: float
    """When it wrote this, likewise."""
    destination: str
    stats: Stats
    refused: Mapping[str, int]
    """What the API refused, by code; `other` for codes that it does not document."""


class _UnreadableError(Exception):
    """A file makes no sense; the message says how."""


def read_processes(
    directory: str | os.PathLike[str],
) -> tuple[list[ProcessReport], list[str]]:
    """Return what the processes of a journal's directory count, and what is wrong with which file.

    Blocks on the disk.

    Args:
        directory: Which.

    Raises:
        JournalError: It is no directory, or cannot be read.
    """
    path = Path(directory)
    check_exists(path)
    reports, problems = list[ProcessReport](), list[str]()
    for name in names_of(path, COUNTS):
        try:
            report = _read(path / name)
        except (_UnreadableError, OSError, ValueError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            why = str(error) if isinstance(error, _UnreadableError) else why or "it makes no sense"
            problems.append(f"{path / name} cannot be read: {why}")
        else:
            reports += [] if report is None else [report]
    return sorted(reports, key=lambda one: one.begun), problems


_TRIES: Final = 5

_PAUSE: Final = 0.01
"""Seconds between two tries: a write takes much less."""


def _read(path: Path) -> ProcessReport | None:
    """Return what a file says; None if it says nothing yet, or is gone."""
    for _ in range(_TRIES):
        lives = is_held(path)
        try:
            content = _content(path)
        except FileNotFoundError:
            return None
        if not content.strip():
            return None
        said = _sealed(content)
        if said is not None:
            return _report_of(path, said, lives=lives)
        if not lives:
            break
        time.sleep(_PAUSE)  # it was being written
    raise _UnreadableError("it is damaged; remove it")


_MOST_BYTES: Final = 65_536


def _content(path: Path) -> bytes:
    descriptor = open_foreign(path)
    try:
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


def open_foreign(path: Path) -> int:
    """Open a plain file of whoever owns its directory.

    Raises:
        OSError: It cannot be opened.
        _UnreadableError: It is none such.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | SAFE)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == path.parent.stat().st_uid:
        return descriptor
    os.close(descriptor)
    raise _UnreadableError("it is no plain file of the directory's owner")


def _sealed(content: bytes) -> Mapping[str, Any] | None:
    """Return what is written; None unless it is whole."""
    try:
        said = json.loads(content)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    seal = said.pop("seal", None)
    return said if seal == seal_of(said) else None


def _report_of(path: Path, said: Mapping[str, Any], *, lives: bool) -> ProcessReport:
    if said.get("version") != VERSION:
        raise _UnreadableError("it is of another version of alhena-async")
    died = ProcessState.ENDED if said.get("ended") is True else ProcessState.DIED
    return ProcessReport(
        path=path,
        pid=_whole(said.get("pid")),
        state=ProcessState.LIVING if lives else died,
        begun=_number(said.get("begun")),
        at=_number(said.get("at")),
        destination=_text(said.get("destination")),
        stats=_stats(said.get("stats")),
        refused=_refused(said.get("refused")),
    )


_MOST: Final = 1 << 53


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise _UnreadableError("a count in it is none")
    return value


def _number(value: object) -> float:
    if type(value) not in {int, float} or not 0 <= value < _MOST:  # type: ignore[operator]
        raise _UnreadableError("a number in it is none")
    return float(value)  # type: ignore[arg-type]


_MOST_CHARACTERS: Final = 500


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS:
        raise _UnreadableError("a text in it is none")
    return value


def _stats(said: object) -> Stats:
    if not isinstance(said, dict):
        raise _UnreadableError("its counts are missing")
    read: dict[str, Any] = {}
    for field in attrs.fields(Stats):
        value, default = said.get(field.name, field.default), field.default
        if type(default) in _KINDS:  # what is of another kind, these files do not tell
            read[field.name] = _KINDS[type(default)](value)
    return Stats(**read)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _UnreadableError("a flag in it is none")
    return value


def _wire(value: object) -> Wire | None:
    for known in (*get_args(Wire), None):
        if value == known:
            return cast("Wire | None", known)
    raise _UnreadableError("a way in it is none")


def _breaker(value: object) -> BreakerState:
    return BreakerState(_text(value))


_KINDS: Final[Mapping[type, Callable[[object], object]]] = {
    bool: _flag,
    int: _whole,
    float: _number,
    BreakerState: _breaker,
    type(None): _wire,
}


_CODE: Final = re.compile(r"[A-Za-z_]{1,64}")

_MOST_CODES: Final = 32


def _refused(said: object) -> Mapping[str, int]:
    if not isinstance(said, dict) or len(said) > _MOST_CODES:
        raise _UnreadableError("its codes are missing")
    if not all(map(_CODE.fullmatch, said)):
        raise _UnreadableError("a code in it is none")
    return {code: _whole(number) for code, number in said.items()}


# --- outcomes -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ToldOutcome:
    """How one event ended, as its process told it."""

    pid: int
    number: int
    """Of the process's outcomes while it is watched, from 1."""
    at: float
    """When, in seconds since the epoch."""
    kind: str
    """`cart` or `checkout`."""
    status: OutcomeStatus
    code: str | None
    attempts: int
    seconds: float
    """From its acceptance to its end."""


class OutcomeReader:
    """Reads what the processes of a directory add to their outcomes.

    Args:
        directory: The journal's; a `Watch` has its processes write.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = {name: _Lines(directory / name) for name in names_of(directory, OUTCOMES)}
        self.lost: int = 0
        """Outcomes that were overwritten before they were read, or make no sense."""
        for file in self._files.values():
            file.skip()

    def poll(self) -> Iterator[ToldOutcome]:
        """Yield what was added since the last time."""
        there = names_of(self._directory, OUTCOMES)
        for name in there:
            if name not in self._files:
                self._files[name] = _Lines(self._directory / name)
        for name, file in list(self._files.items()):
            yield from file.poll()
            self.lost += file.take_lost()
            if name not in there:
                self._files.pop(name).close()

    def close(self) -> None:
        """Close what is open."""
        for file in self._files.values():
            file.close()


class _Lines:
    """One process's file of outcomes, and the one that takes its place when it is full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pid = int(path.name.partition("-")[0])
        self._descriptor = -1
        self._rest = b""
        self._last = 0
        self._lost = 0

    def skip(self) -> None:
        """Pass over what is there already."""
        deque(self.poll(), maxlen=0)
        self._lost = 0

    def take_lost(self) -> int:
        """Return how many are missing since the last time."""
        lost, self._lost = self._lost, 0
        return lost

    def poll(self) -> Iterator[ToldOutcome]:
        """Yield what was added since the last time, also to a new file in the old one's place."""
        yield from self._read()
        if self._descriptor < 0 or self._was_replaced():
            self.close()
            try:
                self._descriptor = open_foreign(self._path)
            except (OSError, _UnreadableError):
                return
            yield from self._read()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._rest = -1, b""

    def _was_replaced(self) -> bool:
        try:
            found = self._path.lstat()
        except OSError:
            return False
        return not os.path.samestat(found, os.fstat(self._descriptor))

    def _read(self) -> Iterator[ToldOutcome]:
        if self._descriptor < 0:
            return
        # No more than a whole file: one that grows for ever is none of ours.
        *lines, self._rest = (self._rest + os.read(self._descriptor, MAX_OUTCOMES_BYTES)).split(
            b"\n"
        )
        self._rest = self._rest[-_MOST_BYTES:]
        for line in lines:
            try:
                told = _told(self._pid, json.loads(line))
            except (_UnreadableError, ValueError, RecursionError):
                self._lost += 1
                continue
            self._lost += max(0, told.number - self._last - 1) if self._last else 0
            self._last = told.number
            yield told


def _told(pid: int, said: object) -> ToldOutcome:
    if not isinstance(said, dict) or said.get("kind") not in {"cart", "checkout"}:
        raise _UnreadableError("it is no outcome")
    code = said.get("code")
    if code is not None and not (isinstance(code, str) and _CODE.fullmatch(code)):
        raise _UnreadableError("its code is none")
    return ToldOutcome(
        pid=pid,
        number=_whole(said.get("number")),
        at=_number(said.get("at")),
        kind=said["kind"],
        status=OutcomeStatus(_text(said.get("status"))),
        code=code,
        attempts=_whole(said.get("attempts")),
        seconds=_number(said.get("seconds")),
    )
