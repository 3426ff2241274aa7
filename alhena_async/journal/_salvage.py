"""Set a damaged file aside, and write what can still be read into a new one of its number."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from alhena_async.journal._clock import ClockReading, uptime
from alhena_async.journal._dead_letters import DeadLetter
from alhena_async.journal._directory import DAMAGED, sidecars
from alhena_async.journal._event_file import EventFile, FileHeader, remove
from alhena_async.journal._locks import Lock
from alhena_async.journal._rows import COLUMNS, Stored, is_sound, seed_of
from alhena_async.journal._sqlite import DamagedError
from alhena_async.journal._sqlite_pages import carve, carve_pages

__all__ = ["Salvage", "Salvaged", "finish_salvage", "salvaged_letters", "set_aside"]


_log = logging.getLogger("alhena_async")

_FACTS: Final = frozenset(FileHeader.now("").facts())
_MAX_FACT: Final = 4_096

_ROWS_PER_BATCH: Final = 512

_SECONDS: Final = 60.0
_SECONDS_PER_MIB: Final = 1.0
"""A sound file of that size is read in much less."""


@attrs.frozen(kw_only=True)
class Salvaged:
    """What came of a damaged file."""

    aside: Path
    """The damaged file's new name."""
    rows: int
    """How many rows could be read."""


class Salvage:
    """Writes a damaged file's readable rows into a new one, and sets it aside under another name.

    Step by step, in bounded memory. Wherever that is interrupted, either the damaged file is as it
    was, or all that could be read of it stands under an interim name: `finish_salvage` goes on from
    there.

    Args:
        path: The damaged file, closed, its number held.
        lock: Who holds the number.
        destination: Whose rows.
        synchronous: `FULL` or `NORMAL`.
        is_foreign: It may be another program's: it is ours only if a row of it is.
    """

    def __init__(
        self, path: Path, lock: Lock, destination: str, *, synchronous: str, is_foreign: bool
    ) -> None:
        self._is_foreign = is_foreign
        self._path = path
        self._lock = lock
        self._destination = destination
        self._synchronous = synchronous
        self._seed = seed_of(destination)
        self._facts: dict[str, str] = {}
        self._strange = 0
        self._sound: list[Stored] = []
        self.result: Salvaged | None = None
        """What came of it; None before the end, and if the file is another destination's."""

    def steps(self) -> Generator[None, None, None]:
        """Do it, a page at a time.

        Raises:
            OSError, sqlite3.Error: The disk refused; the damaged file is where it was.
        """
        fresh = _fresh_path(self._path)
        remove(fresh)
        header = FileHeader.now(self._destination)
        file = EventFile.create(fresh, header, synchronous=self._synchronous)
        is_ours = False
        try:
            with contextlib.closing(file):
                for _ in self._rows_into(file):
                    yield
                rows = file.count()
                if rows or self._may_be_ours():
                    header = _header_of(self._facts, self._lock.noted(), self._destination)
                    file.call(header)
                    file.empty_log()  # it is renamed without its log
                    is_ours = True
        finally:
            if not is_ours:
                remove(fresh)
        if is_ours:
            self.result = Salvaged(aside=self._swap(header), rows=rows)

    def _rows_into(self, file: EventFile) -> Iterator[None]:
        until = uptime() + _SECONDS + _SECONDS_PER_MIB * self._path.stat().st_size / (1 << 20)
        for records in carve_pages(self._path):
            for id_, record in records:
                self._take(id_, record)
            if len(self._sound) >= _ROWS_PER_BATCH:
                self._write(file)
            if uptime() > until:
                _log.error("alhena: %s is not read to its end: it takes too long", self._path)
                break
            yield
        self._write(file)

    def _take(self, id_: int, record: Sequence[Any]) -> None:
        if len(record) == len(COLUMNS) and record[0] is None:
            row = (id_, *record[1:])
            if is_sound(row, self._seed):
                self._sound.append(Stored(*row))
            else:
                self._strange += 1
        elif len(record) == 2 and all(type(value) is str for value in record):
            name, value = record
            if name in _FACTS and len(value) < _MAX_FACT:
                self._facts[name] = value

    def _write(self, file: EventFile) -> None:
        file.salvage(self._sound)
        self._sound.clear()

    def _swap(self, header: FileHeader) -> Path:
        path = self._path
        os.replace(_fresh_path(path), _whole_path(path))  # noqa: PTH105  it may stand for it now
        aside = set_aside(path)
        finish_salvage(path)
        with contextlib.suppress(OSError):
            self._lock.note(header.facts())
        return aside

    def _may_be_ours(self) -> bool:
        """Whether a file without one sound row of ours is ours, by what it says of itself.

        One without any row at all is, unless another destination claims it: nothing is lost.
        """
        if self._is_foreign:
            return False
        said = (self._facts, self._lock.noted())
        claims = {one["destination"] for one in said if "destination" in one}
        if claims == {self._destination}:
            return True
        return not self._strange and (not claims or self._destination in claims)


def salvaged_letters(path: Path) -> Iterator[tuple[Any, ...]]:
    """Go through what can be read of a damaged file of dead letters: numbers and fields.

    Letters have no seals, so that is all that looks like one.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
    """
    columns = attrs.fields(DeadLetter)
    for id_, record in carve(path):
        letter = (id_, *record[1:])
        if len(letter) == len(columns) and id_ > 0 and record[0] is None and _is_letter(letter):
            yield letter


def _is_letter(values: Sequence[Any]) -> bool:
    named = dict(zip((field.name for field in attrs.fields(DeadLetter)), values, strict=True))
    texts = ("destination", "company_key", "kind", "status", "body")
    moments = (named["accepted"], named["ended"])
    return all(type(named[name]) is str for name in texts) and all(
        isinstance(moment, int | float) for moment in moments
    )


def set_aside(path: Path) -> Path:
    """Give a closed file and what stands beside it another name; return that name."""
    aside = path.with_name(path.name + DAMAGED)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{DAMAGED}.{number}")
    # The log first: were it left behind, it would be read into the next file of this name.
    for old, new in zip((*sidecars(path), path), (*sidecars(aside), aside), strict=True):
        with contextlib.suppress(FileNotFoundError):
            old.rename(new)
    return aside


def finish_salvage(path: Path) -> None:
    """Put a salvaged file into its place, if the process that wrote it died before it could."""
    fresh, whole = _fresh_path(path), _whole_path(path)
    if fresh.exists():
        remove(fresh)  # unfinished; the damaged file is still there
    if whole.exists():
        if path.exists():
            set_aside(path)  # its log may be aside already: by itself it holds less
        for one in sidecars(path):
            with contextlib.suppress(FileNotFoundError):
                one.unlink()
        os.replace(whole, path)  # noqa: PTH105


def _fresh_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _whole_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.whole")


def _header_of(facts: Mapping[str, str], noted: Mapping[str, str], destination: str) -> FileHeader:
    """What the file says of itself, otherwise what its lock file repeats.

    Its rows have shown whose it is. Where the two give different times, neither is used.
    """
    found = []
    for said in (facts, noted):
        with contextlib.suppress(DamagedError):
            found.append(FileHeader.of(said))
    header = found[0] if found else FileHeader.now(destination)
    if not found or header.anchor != found[-1].anchor:
        # No boot is named, so that ages go by the wall clock.
        header = attrs.evolve(header, anchor=ClockReading(wall=0.0, uptime=0.0, boot_id=""))
    return attrs.evolve(header, destination=destination)
