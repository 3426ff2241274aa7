"""The files of dead processes that this one has taken over, from the first look to the last row."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from alhena_async.errors import JournalError
from alhena_async.journal._adoption import Adopted, Adopter
from alhena_async.journal._locks import Lock
from alhena_async.journal._places import OWN, base_of, id_of, marks_in, slot_of
from alhena_async.journal._rows import Stored
from alhena_async.journal._schema import is_damage, translated
from alhena_async.journal.protocol import Backlog, Guard, Page

__all__ = ["Inheritance"]


class Inheritance:
    """Holds adopted files by slot. Belongs to the writer's thread.

    Args:
        adopter: Finds and salvages them.
        settled_rows: Returns which rows of a file, by its uuid, are dead letters already.
        unreadable: Told of rows that are whole and yet no events, with their places.
    """

    def __init__(
        self,
        adopter: Adopter,
        settled_rows: Callable[[str], Sequence[int]],
        unreadable: Callable[[Stored, int], object],
    ) -> None:
        self._adopter = adopter
        self._settled_rows = settled_rows
        self._unreadable = unreadable
        self._files: dict[int, Adopted] = {}
        self._spent: list[Lock] = []
        """Held to the end: rows of theirs were handed out, and are to be handed out only once."""
        self._last_slot = OWN

    def __contains__(self, slot: object) -> bool:
        return slot in self._files

    @property
    def left(self) -> int:
        """Rows that are not settled."""
        return sum(one.left for one in self._files.values())

    @property
    def has_debts(self) -> bool:
        """Whether rows are to be deleted that could not be."""
        return any(one.gone for one in self._files.values())

    def uuid_of(self, slot: int) -> str | None:
        """Return a file's own name; None if it is not held any more."""
        adopted = self._files.get(slot)
        return adopted.file.birth.uuid if adopted is not None else None

    def take_over(self, own: int) -> list[int]:
        """Take the files of dead processes; return their slots, oldest first.

        Args:
            own: The number of our own file.

        Raises:
            JournalError: The directory cannot be read.
        """
        slots = []
        for adopted in self._adopter.find([own, *self._numbers()]):
            self._last_slot += 1
            self._files[self._last_slot] = adopted
            slots.append(self._last_slot)
        return slots

    def check_some(self, slot: int) -> Backlog | bool:
        """Check some rows of a file that was taken over.

        Returns:
            False: there are more to check. True: nothing of it is ours to deliver. Else what it
            holds.
        """
        adopted = self._files[slot]
        try:
            if not adopted.checked:
                # Their letters were kept, and then the process died: they have ended.
                adopted.forget(self._settled_rows(adopted.file.birth.uuid))
            if not adopted.check_some():
                return False
        except Exception as error:  # noqa: BLE001  one bad file must not hide the others
            return not self._salvaged(slot, error)
        if not adopted.left:
            self._release(slot)
            return True
        return Backlog(file=slot, rows=adopted.left, lanes=dict(adopted.lanes))

    def page(self, slot: int, after: int, limit: int) -> Page:
        """Return the next rows of a file, salvaged once more if need be.

        Raises:
            JournalError: It cannot be read.
        """
        adopted = self._files.get(slot)
        if adopted is None:
            raise JournalError("the file is not held any more: close the client, and start anew")
        path = adopted.file.path
        try:
            try:
                return self._page(slot, after, limit)
            except Exception as error:
                if not (is_damage(error) and self._salvaged(slot, error)):
                    raise
                return self._page(slot, after, limit)
        except Exception as error:
            raise translated(path, error) from error

    def _page(self, slot: int, after: int, limit: int) -> Page:
        base = base_of(slot)
        rows, unreadable, last = self._files[slot].rows(after=after, limit=limit, base=base)
        for row in unreadable:
            self._unreadable(row, base | row.id)
        return Page(rows=rows, last=last)

    def settle(self, gone: Iterable[int], marks: Mapping[int, Guard]) -> JournalError | None:
        """Delete and mark rows; return why some could not be.

        Args:
            gone: Places of settled rows; those of our own file are passed over.
            marks: What guarded rows are from now on, by place; likewise.
        """
        for place in gone:
            if slot_of(place) in self._files:
                self._files[slot_of(place)].gone.append(id_of(place))
        failure: JournalError | None = None
        for slot, adopted in list(self._files.items()):
            own = marks_in(slot, marks)
            if adopted.gone or own:
                try:
                    if adopted.settle(own):
                        self._release(slot)
                except (sqlite3.Error, OSError) as error:
                    failure = adopted.failed(error)
        return failure

    def look(self) -> None:
        """Let go of files that were deleted or replaced underneath."""
        for slot, adopted in list(self._files.items()):
            if not adopted.file.is_ours():
                told = f"{adopted.file.path} was deleted or replaced underneath"
                self._adopter.leave(adopted.lock.number, JournalError(told))
                self._release(slot)

    def release_all(self) -> None:
        """Let go of every file."""
        for slot in list(self._files):
            self._release(slot)
        for lock in self._spent:
            lock.release(remove=False)

    def _numbers(self) -> list[int]:
        held = [one.lock for one in self._files.values()]
        return [lock.number for lock in (*held, *self._spent)]

    def _salvaged(self, slot: int, why: Exception) -> bool:
        """Begin a damaged file anew; return whether that could be done. If not, it is let go."""
        adopted = self._files[slot]
        path: Path = adopted.file.path
        with contextlib.suppress(sqlite3.Error):
            adopted.file.close()
        file = None
        if is_damage(why):
            try:
                file = self._adopter.salvaged(adopted.lock, path, why)
            except (sqlite3.Error, OSError, JournalError) as error:
                why = error
        if file is None:
            self._adopter.leave(adopted.lock.number, translated(path, why))
            del self._files[slot]
            if adopted.is_checked:
                self._spent.append(adopted.lock)
            else:
                adopted.lock.release(remove=False)
            return False
        adopted.begin_again(file)
        return True

    def _release(self, slot: int) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            self._files.pop(slot).release()
