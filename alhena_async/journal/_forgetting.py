"""Removes a visitor from a journal's directory: rows, dead letters, and every byte of them.

SQLite overwrites what is deleted, but a log keeps old pages until it is started over, and a page
that was rearranged may keep copies: so each file is written anew, and its log emptied. At the end
the bytes of every file are looked through: that says whether it is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import attrs

from alhena_async.errors import JournalError
from alhena_async.journal._dead_letters import DeadLetterFilter, DeadLetters, letters_path
from alhena_async.journal._directory import (
    DAMAGED,
    Directory,
    check_exists,
    check_own_file,
    events_path,
    refused,
    sidecars,
)
from alhena_async.journal._event_file import EventFile
from alhena_async.journal._forget_requests import (
    Answer,
    ForgetRequest,
    Whom,
    is_of,
    requests_in,
    rows_of,
)
from alhena_async.journal._locks import is_held
from alhena_async.journal._reports import COUNTS, names_of
from alhena_async.journal._sqlite import DamagedError, is_damage, to_journal_error

__all__ = ["Forgotten", "forget_visitor"]

_SECONDS_BETWEEN_LOOKS: Final = 0.2

_SECONDS_OF_A_RUN: Final = 3_600.0
"""A request that is older is nobody's any more."""

_ROWS_PER_READ: Final = 512

_CHUNK_BYTES: Final = 1 << 20


@attrs.define(kw_only=True)
class Forgotten:
    """What came of it."""

    waiting: int = 0
    """Events removed that waited: in files of dead processes, and in living ones."""
    letters: int = 0
    """Dead letters removed."""
    damaged: int = 0
    """Places that were overwritten in files that cannot be read otherwise."""
    on_wire: int = 0
    """Events whose request was out: the API may have them."""
    silent: list[str] = attrs.field(factory=list)
    """Processes that live and did not answer in time, by pid."""
    left: list[Path] = attrs.field(factory=list)
    """Files in which something of the visitor still stands."""
    problems: list[str] = attrs.field(factory=list)
    """What could not be done, in words."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the visitor is left in the directory."""
        return not (self.silent or self.left or self.problems)


def forget_visitor(
    directory: str | os.PathLike[str],
    fingerprint: str,
    faq_fingerprint: str,
    *,
    timeout: float = 30.0,
) -> Forgotten:
    """Remove a visitor from a journal's directory, also while processes use it. Blocks.

    An event with either of the two fingerprints is the visitor's.

    Args:
        directory: Which.
        fingerprint: One of the visitor's two.
        faq_fingerprint: The other.
        timeout: Seconds to wait for processes that live.

    Raises:
        JournalError: It is no directory, or cannot be used.
    """
    path = Path(directory)
    check_exists(path)
    job = _Forgetting(path, Whom.of(fingerprint, faq_fingerprint), (fingerprint, faq_fingerprint))
    return job.run(timeout)


class _Forgetting:
    """One run over a directory.

    Args:
        path: Which.
        whom: Whose events, as processes are told.
        fingerprints: The same in clear.
    """

    def __init__(self, path: Path, whom: Whom, fingerprints: tuple[str, str]) -> None:
        self._path = path
        self._whom = whom
        # As JSON has them, in whichever of its two ways.
        self._needles = sorted({json.dumps(one)[1:-1] for one in fingerprints} | {*fingerprints})
        self._bytes = [one.encode("utf-8", "surrogatepass") for one in self._needles]
        self._found = Forgotten()

    def run(self, timeout: float) -> Forgotten:
        _clear_old(self._path)
        try:
            request = ForgetRequest.make(self._path, self._whom)
        except OSError as error:
            raise refused(self._path, error) from error
        try:
            self._await_processes(request, timeout)
            self._forget_left_behind()
            self._forget_letters()
            self._blank_damaged()
        finally:
            request.withdraw()
        self._found.left = [path for path in self._files() if self._holds_any(path)]
        return self._found

    # --- processes that live -------------------------------------------------------------------

    def _await_processes(self, request: ForgetRequest, timeout: float) -> None:
        """Wait until every process that lives has answered, or the time is over."""
        until = time.monotonic() + timeout
        answers: dict[str, Answer] = {}
        while True:
            for name in self._living():
                answer = request.answer_of(name)
                if answer is not None:
                    answers[name] = answer
            missing = [name for name in self._living() if name not in answers]
            if time.monotonic() >= until or not (missing or self._is_held_somewhere()):
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._found.waiting = sum(one.dropped for one in answers.values())
        self._found.on_wire = sum(one.on_wire for one in answers.values())
        self._found.silent = [name.partition("-")[0] for name in missing]

    def _is_held_somewhere(self) -> bool:
        """Return whether the visitor stands in a file of a process that has only just begun."""
        directory = Directory(self._path)
        paths = [events_path(self._path, number) for number in directory.numbers()]
        held = [path for path in paths if is_held(path.with_suffix(".lock"))]
        return any(self._holds_any(one) for path in held for one in (path, sidecars(path)[0]))

    def _living(self) -> list[str]:
        """Return the names of the processes that have a client here."""
        names = names_of(self._path, COUNTS)
        return [name.removesuffix(COUNTS) for name in names if is_held(self._path / name)]

    # --- files of dead processes ---------------------------------------------------------------

    def _forget_left_behind(self) -> None:
        directory = Directory(self._path)
        for number in directory.numbers():
            path = events_path(self._path, number)
            lock, is_empty = None, False
            try:
                lock = directory.try_lock(number)
                if lock is not None and path.exists():
                    is_empty = self._forget_in(path)
            except (JournalError, DamagedError, sqlite3.Error, OSError) as error:
                if lock is not None and is_damage(error, path):
                    self._blank(path)
                else:
                    self._problem(to_journal_error(path, error))
            finally:
                if lock is not None:
                    lock.release(remove=is_empty)

    def _forget_in(self, path: Path) -> bool:
        """Remove the visitor from a file that is ours now; return whether the file went with it."""
        file = EventFile.open(path, synchronous="FULL")
        if file is None:
            return False
        try:
            ids = rows_of(file, self._whom, self._needles)
            self._found.waiting += len(ids)
            file.write(gone=ids)  # and what is only noted as gone
            if not file.count():
                file.delete()
                return True
            file.rewrite()
        finally:
            with contextlib.suppress(sqlite3.Error):
                file.close()
        return False

    # --- dead letters --------------------------------------------------------------------------

    def _forget_letters(self) -> None:
        path = letters_path(self._path)
        if not path.exists():
            return
        try:
            with DeadLetters(self._path) as letters:
                ids = [
                    letter.id
                    for letter in letters.list()
                    if is_of(letter.body, self._whom, self._needles)
                ]
                for start in range(0, len(ids), _ROWS_PER_READ):
                    wanted = DeadLetterFilter(ids=tuple(ids[start : start + _ROWS_PER_READ]))
                    self._found.letters += letters.purge(wanted)
                letters.rewrite()
        except JournalError as error:
            self._problem(error)

    # --- bytes ---------------------------------------------------------------------------------

    def _blank_damaged(self) -> None:
        """Overwrite the fingerprints in what was set aside: nobody reads it again."""
        for path in self._files():
            if DAMAGED in path.name:
                self._blank(path)

    def _blank(self, path: Path) -> None:
        try:
            check_own_file(path)
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                for place, length in [*_places(descriptor, self._bytes)]:
                    os.pwrite(descriptor, b"x" * length, place)
                    self._found.damaged += 1
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, JournalError) as error:
            self._problem(error if isinstance(error, JournalError) else refused(path, error))

    def _files(self) -> list[Path]:
        return sorted(path for path in self._path.rglob("*") if path.is_file())

    def _holds_any(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._problem(refused(path, error))
            return False
        try:
            return next(_places(descriptor, self._bytes), None) is not None
        finally:
            os.close(descriptor)

    def _problem(self, error: Exception) -> None:
        self._found.problems.append(str(error))


def _clear_old(directory: Path) -> None:
    """Remove what runs that were killed left behind."""
    for request in requests_in(directory):
        with contextlib.suppress(OSError):
            if time.time() - request.path.lstat().st_mtime > _SECONDS_OF_A_RUN:
                request.withdraw()


def _places(descriptor: int, needles: Collection[bytes]) -> Iterator[tuple[int, int]]:
    """Go through where any of some texts stands in a file, and how long it is."""
    overlap = max(map(len, needles)) - 1
    place = 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES + overlap, place):
        for needle in needles:
            at = chunk.find(needle)
            while at >= 0:
                yield place + at, len(needle)
                at = chunk.find(needle, at + 1)
        place += _CHUNK_BYTES
