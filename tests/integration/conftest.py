"""One browser, and one Postgres, for all tests that need them: they are slow to start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.postgres_outbox import running_server
from tests.postgres_process import PostgresServer

if TYPE_CHECKING:
    from tests.shop_pages import Shop


# Both import late: without playwright the other tests here still run.
@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Any]:
    from tests.chromium import started_chromium  # noqa: PLC0415

    async with started_chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shop(browser: Any) -> AsyncIterator[Shop]:
    from tests.shop_pages import Shop  # noqa: PLC0415

    async with Shop(browser).serving() as shop:
        yield shop


@pytest.fixture(scope="session")
def postgres_process() -> Iterator[PostgresServer]:
    """One server; each test has a database of its own."""
    yield from running_server()


@pytest.fixture
def postgres(postgres_process: PostgresServer) -> PostgresServer:
    """The server, up again whatever the test before did to it."""
    return postgres_process.start()
