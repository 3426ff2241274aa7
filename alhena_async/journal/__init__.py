"""Durable on request: what was accepted survives a kill, a full disk and a restart.

`SQLiteJournal` is imported when it is first asked for: who needs no journal loads no sqlite3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alhena_async.journal.protocol import Backlog, Ending, Journal, Page, Row, SendMark

if TYPE_CHECKING:
    from alhena_async.journal._sqlite_journal import SQLiteJournal

__all__ = ["Backlog", "Ending", "Journal", "Page", "Row", "SQLiteJournal", "SendMark"]


def __getattr__(name: str) -> Any:
    if name == "SQLiteJournal":
        from alhena_async.journal._sqlite_journal import SQLiteJournal  # noqa: PLC0415

        return SQLiteJournal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
