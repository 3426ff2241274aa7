"""Every committed order: an event as a row in the transaction that makes the order.

A journal begins where `track` begins; between the shop's COMMIT and that call a process can die.
An outbox closes that: the row is committed with the order, or not at all, and relays deliver it.
`PostgresOutbox` for shops on Postgres, `SQLiteOutbox` for those on SQLite; see `docs/outbox.md`.
"""

from alhena_async.outbox._adding import Added, AddedStatus
from alhena_async.outbox._postgres import PostgresOutbox
from alhena_async.outbox._sqlite import SQLiteOutbox
from alhena_async.outbox._statement import Statement

__all__ = ["Added", "AddedStatus", "PostgresOutbox", "SQLiteOutbox", "Statement"]
