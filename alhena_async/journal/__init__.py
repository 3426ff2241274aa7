"""Durable on request: what was accepted survives a kill, a full disk and a restart.

`SQLiteJournal` and what looks into its directory are imported when they are first asked for: who
needs no journal loads no sqlite3.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from alhena_async.journal.protocol import FORGOTTEN, Backlog, Ending, Journal, Page, Row, SendMark

if TYPE_CHECKING:
    from alhena_async.journal._dead_letters import DeadLetter, DeadLetterFilter, DeadLetters
    from alhena_async.journal._directory import holds_journal
    from alhena_async.journal._forget_requests import ForgetRequest, Whom
    from alhena_async.journal._forgetting import Forgotten, forget_visitor
    from alhena_async.journal._inspection import FileReport, JournalReport, inspect_journal
    from alhena_async.journal._processes import (
        OutcomeReader,
        ProcessReport,
        ProcessState,
        ToldOutcome,
        read_processes,
    )
    from alhena_async.journal._reports import Watch
    from alhena_async.journal._sqlite import SQLITE_VERSION, check_sqlite
    from alhena_async.journal._sqlite_journal import SQLiteJournal

__all__ = [
    "FORGOTTEN",
    "SQLITE_VERSION",
    "Backlog",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetters",
    "Ending",
    "FileReport",
    "ForgetRequest",
    "Forgotten",
    "Journal",
    "JournalReport",
    "OutcomeReader",
    "Page",
    "ProcessReport",
    "ProcessState",
    "Row",
    "SQLiteJournal",
    "SendMark",
    "ToldOutcome",
    "Watch",
    "Whom",
    "check_sqlite",
    "forget_visitor",
    "holds_journal",
    "inspect_journal",
    "read_processes",
]

_MODULES: Final = {
    "DeadLetter": "_dead_letters",
    "DeadLetterFilter": "_dead_letters",
    "DeadLetters": "_dead_letters",
    "FileReport": "_inspection",
    "ForgetRequest": "_forget_requests",
    "Forgotten": "_forgetting",
    "JournalReport": "_inspection",
    "OutcomeReader": "_processes",
    "ProcessReport": "_processes",
    "ProcessState": "_processes",
    "SQLITE_VERSION": "_sqlite",
    "SQLiteJournal": "_sqlite_journal",
    "ToldOutcome": "_processes",
    "Watch": "_reports",
    "Whom": "_forget_requests",
    "check_sqlite": "_sqlite",
    "forget_visitor": "_forgetting",
    "holds_journal": "_directory",
    "inspect_journal": "_inspection",
    "read_processes": "_processes",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
