"""Durable on request: what was accepted survives a kill, a full disk and a restart.

`SQLiteJournal` and what looks into its directory are imported when they are first asked for: who
needs no journal loads no sqlite3.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from alhena_async.journal.protocol import Backlog, Ending, Journal, Page, Row, SendMark

if TYPE_CHECKING:
    from alhena_async.journal._dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
    from alhena_async.journal._directory import holds_journal
    from alhena_async.journal._inspection import FileReport, JournalReport, inspect_journal
    from alhena_async.journal._sqlite_journal import SQLiteJournal

__all__ = [
    "Backlog",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetters",
    "Ending",
    "FileReport",
    "Journal",
    "JournalReport",
    "Page",
    "Row",
    "SQLiteJournal",
    "SendMark",
    "holds_journal",
    "inspect_journal",
]

_MODULES: Final = {
    "DeadLetter": "_dead_letters",
    "DeadLetterFilter": "_dead_letters",
    "DeadLetters": "_dead_letters",
    "FileReport": "_inspection",
    "JournalReport": "_inspection",
    "SQLiteJournal": "_sqlite_journal",
    "holds_journal": "_directory",
    "inspect_journal": "_inspection",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
