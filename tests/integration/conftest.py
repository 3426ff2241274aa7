"""One browser for all tests that need one: starting it takes longer than most of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest_asyncio

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
