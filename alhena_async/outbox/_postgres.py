"""An outbox in the shop's own Postgres: an event is a row in the order's own transaction."""

from __future__ import annotations

from alhena_async._delivery.preparation import BeforeSend
from alhena_async.outbox._adding import Outbox
from alhena_async.outbox._statement import POSTGRES, POSTGRES_UNHEARD
from alhena_async.relay._postgres_table import Tables

__all__ = ["PostgresOutbox"]


class PostgresOutbox(Outbox):
    """Writes events into a table of the shop's own database, for relays to deliver.

    It takes part in the caller's transaction and never commits: order and event are committed
    together, or neither is. `alhena outbox init` makes the table, `alhena relay run --broker
    postgresql://...` delivers from it. It holds no connection and no loop; one serves any number
    of threads and requests.

    Args:
        company_key: The organisation's public key.
        schema: Where the table is. Default: wherever the search path finds it.
        before_send: Called with each event as it is added; see `AlhenaClient`.
        notify: Whether each event wakes the relays as it is committed. Postgres lets transactions
            that do so commit one after the other: a shop of hundreds of orders a second says
            False, and relays look twice a second. Default True.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(
        self,
        company_key: str,
        *,
        schema: str | None = None,
        before_send: BeforeSend | None = None,
        notify: bool = True,
    ) -> None:
        dialect = POSTGRES if notify else POSTGRES_UNHEARD
        super().__init__(company_key, dialect, Tables(schema).events, before_send)

    def __repr__(self) -> str:
        return f"<PostgresOutbox {self._table}>"
