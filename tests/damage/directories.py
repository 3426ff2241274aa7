"""Directories of dead processes, damages, and what may be asked of the starts on them."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from alhena_async import JournalError, OutcomeStatus
from alhena_async.journal import DeadLetters, SQLiteJournal, inspect_journal
from tests.journals import DESTINATION, append, cart, committed, ended, files_in, paged, products

__all__ = ["Life", "Mutation", "flips_of", "live", "make_masters", "mutations", "sins_of"]

ELSEWHERE: Final = "http://127.0.0.1:8786/"
"""One bit from `DESTINATION`."""
_OURS: Final = frozenset({2, 3, 4, 5, 10, 11, 12})
_THEIRS: Final = frozenset({20, 21, 22})
_LETTERS: Final = 3

Mutation = Callable[[Path], object]


@attrs.frozen(kw_only=True)
class Life:
    """What one start delivered and said."""

    delivered: frozenset[int]
    said: str
    letters: int
    """Dead letters that can be read in its end; -1 if they cannot be, and that was said."""


def make_masters(base: Path) -> dict[str, Path]:
    """Make two directories: all closed in order, and all killed, with most of it in the logs."""

    async def make() -> None:
        journals = []
        for destination, numbers in (
            (DESTINATION, range(6)), (DESTINATION, range(10, 13)), (ELSEWHERE, range(20, 23)),
        ):  # fmt: skip
            journal = SQLiteJournal(base / "j")
            journals.append(journal)
            await journal.open(destination=destination)
            # Some are larger than a page, and go on in others.
            row_ids = await committed(
                journal, [cart(number, name="x" * (60 + number % 3 * 5_000)) for number in numbers]
            )
            if not numbers.start:
                journal.settle([ended(row_id) for row_id in row_ids[:2]])
                journal.settle([ended(None, OutcomeStatus.REJECTED)] * _LETTERS)
            await journal.sync()
        await asyncio.to_thread(shutil.copytree, base / "j", base / "killed")
        for journal in journals:
            await journal.close()

    asyncio.run(make())
    shutil.copytree(base / "j", base / "closed")
    return {"killed": base / "killed", "closed": base / "closed"}


class _Ears(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def live(directory: Path, destination: str = DESTINATION) -> Life:
    """Start on a directory, deliver all that is found, keep one letter, and close."""
    ears, log = _Ears(), logging.getLogger("alhena_async")
    log.addHandler(ears)
    try:
        # Letters have no seals: one that says that it is old is let go.
        journal = SQLiteJournal(directory, dead_letter_age=1e12, synchronous="NORMAL")
        await journal.open(destination=destination)
        rows = []
        for backlog in await journal.adopt():
            rows += await paged(journal, backlog)
        journal.settle([ended(row.row_id) for row in rows])
        journal.settle([ended(append(journal, cart(99)), OutcomeStatus.REJECTED)])
        await journal.sync()
        await journal.close()
        letters = _look(directory)
    finally:
        log.removeHandler(ears)
    numbers = [int(name[1:]) for name in products(rows)]
    assert len(numbers) == len(set(numbers)), "handed out twice"
    return Life(delivered=frozenset(numbers), said="\n".join(ears.lines), letters=letters)


def _look(directory: Path) -> int:
    """Look at it as the commands do: only one kind of error may come of that."""
    inspect_journal(directory)
    try:
        with DeadLetters(directory) as letters:
            return len(letters.list())
    except JournalError:
        return -1


def sins_of(directory: Path) -> list[str]:
    """Start three times on a damaged directory, once of another destination; return what is wrong.

    A start may not fail; what is not delivered or kept must be said; nothing comes twice.
    """
    try:
        theirs = asyncio.run(live(directory, ELSEWHERE))
        first = asyncio.run(live(directory))
        second = asyncio.run(live(directory))
    except Exception as error:  # noqa: BLE001  whatever it is
        return [f"a start failed: {error!r}"]
    said = theirs.said + first.said
    sins = []
    if not (first.delivered >= _OURS or said):
        sins.append(f"lost in silence: {sorted(_OURS - first.delivered)}")
    if not (theirs.delivered >= _THEIRS or said):
        sins.append(f"lost in silence: {sorted(_THEIRS - theirs.delivered)}")
    if again := first.delivered & second.delivered:
        sins.append(f"delivered by both starts: {sorted(again)}")
    if wrong := (first.delivered | second.delivered) & _THEIRS | theirs.delivered & _OURS:
        sins.append(f"delivered to the wrong host: {sorted(wrong)}")
    if made_up := (first.delivered | theirs.delivered) - _OURS - _THEIRS - {0, 1}:
        sins.append(f"made up: {sorted(made_up)}")
    if second.letters < _LETTERS + 3 and not (said + second.said):
        sins.append(f"{second.letters} letters, and not a word")
    return sins


def flips_of(pattern: str, places: Iterator[int] | range) -> Iterator[tuple[str, Mutation]]:
    """Go through the single bits of some bytes of the first file of a pattern, as mutations."""
    for place in places:
        for bit in range(8):

            def flip(directory: Path, place: int = place, bit: int = bit) -> None:
                path = files_in(directory, pattern)[0]
                content = bytearray(path.read_bytes())
                if place < len(content):
                    content[place] ^= 1 << bit
                    path.write_bytes(content)

            yield f"bit {place}.{bit} of {pattern}", flip


def mutations(seed: int) -> tuple[str, Mutation]:
    """Return one to three random damages of a directory, drawn from a seed."""
    dice = random.Random(seed)
    chosen = [dice.choice(_DAMAGES) for _ in range(dice.choice((1, 1, 1, 2, 3)))]

    def damage(directory: Path) -> None:
        for one in chosen:
            files = [path for path in sorted(directory.iterdir()) if path.is_file()]
            one(dice.choice(files), dice)

    return f"seed {seed}: {', '.join(one.__name__ for one in chosen)}", damage


def _flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)


def _flip_in_head(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[dice.randrange(min(len(content), 140))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)


def _overwrite(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    # A log without its end is one that was never finished: nobody can tell it from a power cut.
    most = max(0, len(content) - 2 * 4_120) if path.name.endswith("-wal") else len(content)
    start = dice.randrange(most + 1)
    length = min(dice.choice((1, 4, 64, 512, 4_096)), most - start)
    content[start : start + length] = dice.choice((bytes(length), dice.randbytes(length)))
    path.write_bytes(content)


def _swap_pages(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if path.name.endswith(("events", "sqlite3")) and len(content) > 4_096:
        one, two = (4_096 * dice.randrange(len(content) // 4_096) for _ in range(2))
        first, second = content[one : one + 4_096], content[two : two + 4_096]
        content[one : one + 4_096], content[two : two + 4_096] = second, first
        path.write_bytes(content)


def _lengthen(path: Path, dice: random.Random) -> None:
    with path.open("ab") as file:
        file.write(dice.randbytes(dice.choice((1, 100, 4_096, 9_000))))


def _cut(path: Path, dice: random.Random) -> None:
    if not path.name.endswith("-wal"):
        path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size + 1)])


def _empty_note(path: Path, _: random.Random) -> None:
    for lock in files_in(path.parent, "*.lock"):
        lock.write_bytes(b"")


def _lose(path: Path, _: random.Random) -> None:
    if path.name.endswith((".lock", "-shm")):
        path.unlink()


_DAMAGES: Final = (
    _flip, _flip, _flip_in_head, _overwrite, _overwrite, _swap_pages, _lengthen, _cut, _empty_note,
    _lose,
)  # fmt: skip
