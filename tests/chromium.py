"""A headless Chromium for tests: where it is, how it is started, what its pages complain of."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.patience import PATIENCE

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

playwright.expect.set_options(timeout=PATIENCE * 1_000)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.asyncio(loop_scope="session"),  # one browser serves them all
]
# Chromium's own errands (updates, sync) have no business in a test.
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def started_chromium() -> AsyncIterator[Any]:
    """Start a browser, closed at the end."""
    # A container's root may not use Chromium's sandbox; anybody else keeps it.
    flags = [*QUIET, "--no-sandbox"] if os.geteuid() == 0 else QUIET
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        await browser.close()


class Watched:
    """A page and everything it complained of: console, uncaught errors, dialogs, requests out."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE * 1_000)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self._look(request.url, origin))

    def _look(self, url: str, origin: str) -> None:
        if not url.startswith((origin, "data:")):
            self.complaints.append(f"request to {url}")
