"""Set a damaged file aside, and write what can still be read into a new one of its number."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from alhena_async.journal._clock import ClockReading
from alhena_async.journal._dead_letters import DeadLetter
from alhena_async.journal._directory import DAMAGED, sidecars
from alhena_async.journal._event_file import EventFile, FileHeader, remove
from alhena_async.journal._locks import Lock
from alhena_async.journal._rows import COLUMNS, Stored, is_sound, seed_of
from alhena_async.journal._sqlite import DamagedError
from alhena_async.journal._sqlite_pages import carve

__all__ = ["Salvaged", "finish_salvage", "salvage", "salvaged_letters", "set_aside"]


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
    noted = lock.noted()
    if not (sound or _may_be_ours(facts, noted, destination, is_empty=not strange)):
        return None
    header = _header_of(facts, noted, destination)
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
    with contextlib.suppress(OSError):
        lock.note(header.facts())
    return Salvaged(aside=aside, rows=len(sound))


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


def _may_be_ours(
    facts: Mapping[str, str], noted: Mapping[str, str], destination: str, *, is_empty: bool
) -> bool:
    """Whether a file without one sound row of ours is ours, by what it says of itself.

    Args:
        facts: What could be read of that.
        noted: What its lock file repeats.
        destination: Ours.
        is_empty: No row was found at all, so that nothing is lost.
    """
    claims = {said["destination"] for said in (facts, noted) if "destination" in said}
    return claims == {destination} or (is_empty and (not claims or destination in claims))


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
