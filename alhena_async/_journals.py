"""From what a caller gives to a journal that is open."""

from __future__ import annotations

import os
from collections.abc import Sequence

from alhena_async.journal import Backlog, Journal

__all__ = ["journal_of", "open_journal"]


def journal_of(given: Journal | str | os.PathLike[str] | None) -> Journal | None:
    """Return the journal that is meant; a directory means a `SQLiteJournal` in it.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(given, str | os.PathLike):
        # Whoever needs no journal loads no sqlite3.
        from alhena_async.journal import SQLiteJournal  # noqa: PLC0415

        return SQLiteJournal(given)
    if given is not None and not callable(getattr(given, "mark", None)):
        raise TypeError(f"journal must be a directory or a journal, not {type(given).__name__}")
    return given


async def open_journal(journal: Journal, *, destination: str) -> Sequence[Backlog]:
    """Open a journal and return what dead processes left in it.

    Raises:
        JournalError: The directory cannot be used. Nothing is left open.
    """
    await journal.open(destination=destination)  # it leaves nothing open if that fails
    try:
        return await journal.adopt()
    except BaseException:
        await journal.close()
        raise
