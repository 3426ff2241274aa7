"""Tables of an outbox on a test's server, and events in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alhena_async.relay import Postgres
from alhena_async.relay._postgres_admin import connected, make
from alhena_async.relay._postgres_table import Settings
from tests.postgres_process import MISSING, PostgresServer, postgres_server

__all__ = ["make_outbox", "running_server"]


def running_server() -> Iterator[PostgresServer]:
    """Serve, or skip the test with the reason why not."""
    pytest.importorskip("asyncpg", reason="the extra asyncpg is not installed")
    if MISSING:
        pytest.skip(MISSING)
    with postgres_server() as server:
        yield server


async def make_outbox(
    url: str, *, schema: str | None = None, lease: float = 60.0, destination: str | None = None
) -> Postgres:
    """Make the tables, as `alhena outbox init` does, and return the broker."""
    database = Postgres(url, schema=schema)
    wanted = Settings(lease=lease) if destination is None else Settings(
        lease=lease, destination=destination
    )  # fmt: skip
    async with connected(database) as connection:
        await make(connection, database.tables, wanted, changes=True)
    return database
