"""The schema of a file of events, and the statements that run on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from alhena_async.journal._rows import COLUMNS, GUARD_STEP
from alhena_async.journal._schema import Migration
from alhena_async.journal.protocol import Guard

__all__ = [
    "DELETE",
    "MAKE_WORK",
    "MARK",
    "MIGRATIONS",
    "READ",
    "READ_ONE_BY_ONE",
    "ROWS",
    "UNMARK",
    "WORK",
    "order",
]


def _version_1(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    connection.execute(
        "CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER, guard INTEGER,"
        " lane INTEGER, accepted INTEGER, company_key TEXT, order_id TEXT, body TEXT, seal INTEGER)"
    )


MIGRATIONS: Final[Sequence[Migration]] = (_version_1,)

MARK: Final = -1
DELETE: Final = -2
UNMARK: Final = -3


def order(step: int, ids: Iterable[int]) -> tuple[Any, ...]:
    """A row that is none: what `work` is to do, with the ids in the place of a body."""
    return (None, step, None, None, None, None, None, f"[{','.join(map(str, ids))}]", None)


_NAMES: Final = ", ".join(COLUMNS)
ROWS: Final = f"INTO rows ({_NAMES})"
_IDS: Final = "id IN (SELECT value FROM json_each(NEW.body))"
WORK: Final = f"INTO work ({_NAMES})"
# What goes into `work` is done at once: so that adding, marking and deleting are one statement,
# which is a transaction by itself. It lives in this connection only, not in the file.
MAKE_WORK: Final = (
    f"CREATE TEMP VIEW work AS SELECT {_NAMES} FROM main.rows",
    (
        "CREATE TEMP TRIGGER work_add INSTEAD OF INSERT ON work WHEN NEW.kind >= 0 BEGIN"
        f" INSERT INTO rows ({_NAMES}) VALUES ({', '.join(f'NEW.{name}' for name in COLUMNS)}); END"
    ),
    (
        f"CREATE TEMP TRIGGER work_mark INSTEAD OF INSERT ON work WHEN NEW.kind = {MARK} BEGIN"
        f" UPDATE rows SET guard = {Guard.SENT:d}, seal = seal + {GUARD_STEP}"
        f" WHERE guard = {Guard.UNSENT:d} AND {_IDS}; END"
    ),
    (
        f"CREATE TEMP TRIGGER work_unmark INSTEAD OF INSERT ON work WHEN NEW.kind = {UNMARK} BEGIN"
        f" UPDATE rows SET guard = {Guard.UNSENT:d}, seal = seal - {GUARD_STEP}"
        f" WHERE guard = {Guard.SENT:d} AND {_IDS}; END"
    ),
    (
        f"CREATE TEMP TRIGGER work_delete INSTEAD OF INSERT ON work WHEN NEW.kind = {DELETE} BEGIN"
        f" DELETE FROM rows WHERE {_IDS}; END"
    ),
)
READ_ONE_BY_ONE: Final = f"SELECT {', '.join(COLUMNS)} FROM rows WHERE id > ? ORDER BY id LIMIT ?"
READ: Final = f"SELECT json_group_array(json_array({_NAMES})) FROM ({READ_ONE_BY_ONE})"
