"""Durable on request: what was accepted survives a kill, a full disk and a restart.

`SQLiteJournal` is imported when it is first asked for: who needs no journal loads no sqlite3.
"""

from alhena_async.journal.protocol import Backlog, Ending, Guard, Journal, Page, Row

__all__ = ["Backlog", "Ending", "Guard", "Journal", "Page", "Row"]
