"""The built site: no link leads nowhere, nothing leaves it, and anybody can read it.

`make docs` builds it, `make a11y` also brings axe-core and runs these; without, they are skipped.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio

from alhena_async.emulator import Emulator
from tests.chromium import Watched, needs_chromium, playwright, started_chromium
from tests.shop_process import running_shop

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
AXE = ROOT / "build" / "axe" / "package" / "axe.min.js"
HERE = {"": "href", "a": "href", "link": "href", "script": "src", "img": "src"}
MAIN = [
    "index", "start", "choosing", "concepts", "comparison", "upgrading", "hosts", "settings",
    "operations", "commands", "reference/index", "reference/events", "architecture",
]  # fmt: skip
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]
# The theme goes on making the page once it is loaded; what `amend.js` adds to it is there.
MADE = "document.querySelector('.md-search').ariaLabel === 'Search'"

needs_site = pytest.mark.skipif(not SITE.is_dir(), reason="the site is not built: make docs")
needs_axe = pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not there: make a11y")


class Document(HTMLParser):
    """What a page links to, and what can be linked to on it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {name for key in ("id", "name") if (name := found.get(key))}
        if link := found.get(HERE.get(tag, "")):
            self.links.append(link)


@cache
def read(page: Path) -> Document:
    document = Document()
    document.feed(page.read_text())
    return document


def broken(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / unquote(path)).resolve() if path else page
    if not target.is_file() or not target.is_relative_to(SITE):
        return True
    return bool(anchor) and target.suffix == ".html" and unquote(anchor) not in read(target).anchors


@needs_site
def test_no_link_of_the_site_leads_nowhere() -> None:
    """Pages, anchors, pictures, scripts; those to other hosts are told apart by their scheme."""
    pages = [page for page in SITE.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 60
    assert [
        f"{page.relative_to(SITE)}: {link}"
        for page in pages
        for link in read(page).links
        if not re.match(r"[a-z]+:|#__|#$", link) and broken(page, link)
    ] == []


@needs_site
def test_the_site_loads_nothing_from_elsewhere() -> None:
    """No font, script or picture of another host: it is read without a network."""
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+https?:"
    )
    assert [str(page) for page in SITE.rglob("*.html") if loads.search(page.read_text())] == []


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def chromium() -> AsyncIterator[Any]:
    async with started_chromium() as browser:
        yield browser


async def opened(browser: Any, url: str, scheme: str, width: int) -> Watched:
    """Open a page; what it complains of, and asks another host for, is kept."""
    context = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    watched = Watched(await context.new_page(), "file://" if url.startswith("file:") else url)
    await watched.page.goto(url)
    return watched


async def violations(page: Any) -> list[str]:
    """What axe-core finds: the rule, and the first element that breaks it."""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run({ preload: false })")
    assert len(found["passes"]) > 10
    return [f"{one['id']}: {one['nodes'][0]['target']}" for one in found["violations"]]


class TestInTheBrowser:
    """Opened from the disk, as whoever unpacks it would."""

    pytestmark = needs_chromium

    @needs_site
    async def test_the_search_finds_without_a_server(self, chromium: Any) -> None:
        """A page from the disk may not start a worker; it finds all the same."""
        watched = await opened(chromium, f"{SITE.as_uri()}/index.html", "light", 1280)
        await watched.page.click(".md-search__input")
        ready = watched.page.locator(".md-search-result__meta")
        await playwright.expect(ready).to_have_text("Type to start searching")
        await watched.page.keyboard.type("coalescing")  # it listens to keys alone
        results = watched.page.locator(".md-search-result__item")
        await playwright.expect(results.first).to_contain_text("oalescing")
        assert watched.complaints == []
        await watched.page.context.close()

    @needs_site
    @needs_axe
    @pytest.mark.parametrize(("scheme", "width"), LOOKS)
    async def test_anybody_can_read_the_main_pages(
        self, chromium: Any, scheme: str, width: int
    ) -> None:
        """Names, contrast, keyboard; and no page scrolls sideways."""
        for name in MAIN:
            watched = await opened(chromium, f"{SITE.as_uri()}/{name}.html", scheme, width)
            page = watched.page
            await page.wait_for_function(MADE)
            assert await violations(page) == [], name
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            assert watched.complaints == [], name
            await page.context.close()

    @needs_axe
    @pytest.mark.parametrize(("scheme", "width"), LOOKS)
    async def test_anybody_can_use_the_emulators_page_and_the_shop(
        self, chromium: Any, scheme: str, width: int
    ) -> None:
        """Names, contrast, keyboard there too."""
        async with Emulator() as emulator, running_shop(emulator.url) as shop:
            for url, settled in ((emulator.url, "text=Live"), (shop, "#shelf .add")):
                watched = await opened(chromium, url, scheme, width)
                await watched.page.locator(settled).first.wait_for()
                assert await violations(watched.page) == [], url
                await watched.page.context.close()
