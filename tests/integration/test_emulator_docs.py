"""docs/emulator.md: its commands, its recipe in a real browser, its table of addresses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from alhena_async.emulator import Emulator, EventKind
from alhena_async.testing import EmulatorThread
from tests.chromium import needs_chromium
from tests.patience import PATIENCE
from tests.shop_process import running_shop

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
BROWSER, CHROMIUM, SESSION = needs_chromium
TOKEN = "a-token-of-the-tests"

# What the recipe uses of Cypress: commands queue up, and each begins when the one before has ended.
CYPRESS = """
window.steps = []; window.tests = [];
window.Cypress = { env: (name) => settings[name] };
window.beforeEach = (make) => make();
window.it = (name, make) => { tests.push(name); make(); };
const chain = { click: () => queue("click"), its: (path) => queue("its", path),
  should: (how, value) => queue("should", how, value) };
const queue = (...step) => { steps.push(step); return chain; };
window.cy = {};
for (const name of ["visit", "get", "request"]) cy[name] = (...given) => queue(name, ...given);
"""


def blocks(language: str) -> list[str]:
    """The page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_every_command_answers_as_it_says() -> None:
    """Each block is run as it stands; what its comments show is in what it prints."""
    with EmulatorThread(token=TOKEN) as emulator:
        variables = {"EMULATOR": emulator.url.rstrip("/"), "ALHENA_EMULATOR_TOKEN": TOKEN}
        for block in blocks("sh"):
            done = subprocess.run(
                ["sh", "-eu", "-c", block],
                env={**os.environ, **variables},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
            )
            shown = re.findall(r"^# (.*)$", block, re.MULTILINE)
            assert shown
            assert [one for one in shown if one not in done.stdout] == []


def test_the_table_has_every_address() -> None:
    """Both documents' paths with their methods, and where the documents are."""
    told = {
        (method, path)
        for methods, paths in re.findall(r"^\| (`[A-Z`, ]+) \| (`/\S.*?) \|", PAGE, re.MULTILINE)
        for method in re.findall(r"[A-Z]+", methods)
        for path in re.findall(r"/[^`,]+", paths)
    }
    served = {("GET", "/openapi.json"), ("GET", "/_emulator/openapi.json")}
    for name in ("openapi.json", "control.openapi.json"):
        document = json.loads((files("alhena_async.emulator") / name).read_text())
        for path, item in document["paths"].items():
            served |= {(method.upper(), path) for method in item}
    assert told == served
    assert all(kind.path in PAGE for kind in EventKind)


class Run:
    """Plays the commands of a recipe, one after the other."""

    def __init__(self, page: Any, shop: str) -> None:
        self._page = page
        self._shop = shop
        self._subject: Any = None

    async def play(self, steps: list[list[Any]]) -> None:
        """Play them all."""
        for name, *given in steps:
            self._subject = await getattr(self, name)(*given)

    async def visit(self, path: str) -> None:
        """Open a page of the shop."""
        await self._page.goto(self._shop.rstrip("/") + path)

    async def get(self, selector: str) -> Any:
        """Wait for an element."""
        found = self._page.locator(selector)
        await found.wait_for(state="attached")
        return found

    async def click(self) -> None:
        """Click it."""
        await self._subject.click()

    async def request(self, how: dict[str, Any]) -> dict[str, Any]:
        """Ask a server, past the page."""
        ask = self._page.context.request
        reply = await ask.fetch(how["url"], method=how.get("method", "GET"), headers=how["headers"])
        assert reply.ok
        return {"body": await reply.json()}

    async def its(self, path: str) -> Any:
        """Look into the answer."""
        found = self._subject
        for name in path.split("."):
            found = found[int(name) if name.isdigit() else name]
        return found

    async def should(self, how: str, value: object) -> None:
        """Hold it against what is expected."""
        assert how == "eq"
        assert self._subject == value


@pytest_asyncio.fixture(loop_scope="session")
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(token=TOKEN) as emulator:
        yield emulator


@BROWSER
@CHROMIUM
@SESSION
async def test_the_recipe_passes_in_a_real_browser(browser: Any, emulator: Emulator) -> None:
    """As it stands on the page, against the example shop; the commands' stand-in is here."""
    [recipe] = blocks("js")
    settings = {"EMULATOR": emulator.url.rstrip("/"), "ALHENA_EMULATOR_TOKEN": TOKEN}
    async with running_shop(emulator.url) as shop:
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(PATIENCE * 1_000)
        await page.evaluate(f"window.settings = {json.dumps(settings)}; {CYPRESS}\n{recipe}")
        assert await page.evaluate("tests") == ["reports what is put into the cart"]
        await Run(page, shop).play(await page.evaluate("steps"))
        await context.close()
    emulator.assert_recorded(type="ITEM_ADDED", product_id="mug", quantity=1)
