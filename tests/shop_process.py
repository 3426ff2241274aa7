"""The example shop as its own process under uvicorn, and a browser that shops in it."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alhena_async.browser import COOKIE_NAME, decode_visitor
from alhena_async.emulator import Emulator, Recorded
from tests.chromium import Watched, playwright
from tests.patience import PATIENCE
from tests.web.serving import Server, served

SHOP_KEY = "kiln-and-leaf"
_LINGER = "0.05"  # seconds: a click later than that is an event of its own


@asynccontextmanager
async def running_shop(api_url: str) -> AsyncIterator[str]:
    """Run the shop against an API, and give its address; it ends as a supervisor ends it."""
    command = "uvicorn", "tests.web.example_shop:app", "--port", "0", "--no-access-log"
    with TemporaryDirectory(prefix="shop") as folder:
        settings = {
            "ALHENA_COMPANY_KEY": SHOP_KEY,
            "ALHENA_BASE_URL": api_url,
            "ALHENA_LINGER": _LINGER,
            "SHOP_DATABASE": str(Path(folder, "shop.db")),
        }
        async with served(*command, settings=settings) as server:
            await server.written("Uvicorn running on")
            yield f"http://127.0.0.1:{server.port}/"
            server.send(signal.SIGTERM)
            await server.ended()
            assert "Traceback" not in server.log


@asynccontextmanager
async def shop_command(database: Path) -> AsyncIterator[tuple[Server, str, str]]:
    """Run `python -m examples.shop`; give it, the shop's address and that of the emulator."""
    options = "--port", "0", "--emulator-port", "0", "--database", str(database)
    async with served("examples.shop", *options, settings={"ALHENA_LINGER": _LINGER}) as server:
        await server.written("Ctrl-C ends both.")
        shop, emulator = re.findall(r"http://\S+", server.log)
        yield server, shop, emulator


class Customer:
    """A browser of its own in the shop: one page, and what the API recorded of it."""

    def __init__(self, page: Any, url: str, emulator: Emulator | None) -> None:
        self.page = page
        self.complaints = Watched(page, url).complaints
        self._url = url
        self._emulator = emulator

    async def enter(self) -> None:
        """Open the shop's page, and wait until it can be used."""
        await self.page.goto(self._url, wait_until="domcontentloaded")  # a widget may be late
        await playwright.expect(self.page.locator("#shelf .add")).to_have_count(6)
        await playwright.expect(self.page.locator("#empty, #filled").first).to_be_attached()

    async def consent(self, *, given: bool) -> None:
        """Answer the banner, once the widget has loaded."""
        await self.page.wait_for_selector(".chat-launcher")
        await self.page.click(f"#consent button[value={'yes' if given else 'no'}]")

    async def add(self, sku: str) -> None:
        """Click a product's button."""
        await self.page.click(f'#shelf [data-sku="{sku}"] .add')

    async def act(self, sku: str, act: str) -> None:
        """Click a button of a cart's line: more, fewer or remove."""
        await self.page.click(f'#lines [data-sku="{sku}"] [data-act={act}]')

    async def has(self, **quantities: int) -> None:
        """Wait until the cart shows exactly this."""
        expect = playwright.expect
        await expect(self.page.locator("#lines li")).to_have_count(len(quantities))
        for sku, quantity in quantities.items():
            output = self.page.locator(f'#lines [data-sku="{sku}"] output')
            await expect(output).to_have_text(str(quantity))

    async def check_out(self) -> str:
        """Buy what is in the cart; return the order id that the page shows."""
        await self.page.click("#checkout")
        await playwright.expect(self.page.locator("#done")).to_be_visible()
        order_id: str = await self.page.text_content("#order")
        return order_id

    async def fingerprints(self) -> tuple[str, str]:
        """The pair that the stand-in widget keeps in its own storage, once it has loaded."""
        await self.page.wait_for_selector(".chat-launcher")
        pair = await self.page.evaluate(
            "[gleenWidget.getFingerprint(), gleenWidget.getFAQFingerprint()]"
        )
        return pair[0], pair[1]

    async def claimed_pair(self) -> tuple[str, str] | None:
        """The pair that the cookie tells the server of; None without a cookie."""
        for cookie in await self.page.context.cookies():
            if cookie["name"] == COOKIE_NAME:
                visitor = decode_visitor(cookie["value"])
                assert visitor is not None
                return visitor.fingerprint, visitor.faq_fingerprint
        return None

    async def recorded(self, count: int) -> list[Recorded]:
        """Wait until the API has recorded so many events of this browser, and return them."""
        fingerprint, _ = await self.fingerprints()
        found: list[Recorded] = []
        emulator = self._emulator
        assert emulator is not None, "it is another process's"

        def enough() -> bool:
            found[:] = emulator.recorded(fingerprint=fingerprint)
            return len(found) >= count

        await emulator.wait_until(enough, timeout=PATIENCE)
        assert len(found) == count
        return found


@asynccontextmanager
async def customer(
    browser: Any, url: str, emulator: Emulator | None = None
) -> AsyncIterator[Customer]:
    """A fresh browser context, outside of the shop yet."""
    context = await browser.new_context()
    try:
        yield Customer(await context.new_page(), url, emulator)
    finally:
        await context.close()
