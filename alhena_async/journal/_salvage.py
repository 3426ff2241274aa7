"""Set a damaged file aside, and write what can still be read into a new one of its number."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from alhena_async.journal._clock import ClockReading
from alhena_async.journal._directory import DAMAGED, sidecars
from alhena_async.journal._event_file import EventFile, FileHeader, remove
from alhena_async.journal._locks import Lock
from alhena_async.journal._rows import COLUMNS, Stored, is_sound, seed_of
from alhena_async.journal._sqlite import DamagedError
from alhena_async.journal._sqlite_pages import carve

__all__ = ["Salvaged", "finish_salvage", "salvage", "set_aside"]


@attrs.frozen(kw_only=True)
class Salvaged:
    """What came of a damaged file."""

    aside: Path
    """The damaged file's new name."""
    rows: int
    """How many rows could be read."""


def salvage(path: Path, lock: Lock, destination: str, *, synchronous: str) -> Salvaged | None:
    """Write a damaged file's readable rows into a new one, and set it aside under another name.

    Wherever that is interrupted, either the damaged file is as it was, or all that could be read
    of it stands under an interim name: `finish_salvage` goes on from there.

    Args:
        path: The damaged file, closed, its number held.
        lock: Who holds the number.
        destination: Whose rows.
        synchronous: `FULL` or `NORMAL`.

    Returns:
        None if it is another destination's, or may be: then nothing was done.

    Raises:
        OSError, sqlite3.Error: The disk refused; the damaged file is where it was.
    """
    seed = seed_of(destination)
    sound: dict[int, Stored] = {}
    strange = 0
    facts: dict[str, str] = {}
    for id_, record in carve(path):
        if len(record) == len(COLUMNS) and record[0] is None:
            row = (id_, *record[1:])
            if is_sound(row, seed):
                sound[id_] = Stored(*row)
            else:
                strange += 1
        elif len(record) == 2 and all(type(value) is str for value in record):
            facts[record[0]] = record[1]
    header = _header_of(facts, lock)
    if header is None:
        if not sound and strange:
            return None
        header = _unknown_header(destination)
    elif header.destination != destination:
        return None
    fresh = _fresh_path(path)
    remove(fresh)
    file = EventFile.create(fresh, header, synchronous=synchronous)
    try:
        file.write(rows=[sound[id_] for id_ in sorted(sound)])
        file.empty_log()  # it is renamed without its log
    finally:
        file.close()
    os.replace(fresh, _whole_path(path))  # noqa: PTH105  now it may stand for the damaged one
    aside = set_aside(path)
    finish_salvage(path)
    return Salvaged(aside=aside, rows=len(sound))


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


def _header_of(facts: Mapping[str, str], lock: Lock) -> FileHeader | None:
    """What the file says of itself, otherwise what its lock file repeats."""
    for source in (facts, lock.noted()):
        with contextlib.suppress(DamagedError):
            return FileHeader.of(source)
    return None


def _unknown_header(destination: str) -> FileHeader:
    # No boot is named, so that ages go by the wall clock.
    header = FileHeader.now(destination)
    return attrs.evolve(header, anchor=ClockReading(wall=0.0, uptime=0.0, boot_id=""))
