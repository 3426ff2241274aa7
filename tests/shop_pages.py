"""Tiny shop pages for the visitor script: any stand-in widget, any options, a strict policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from alhena_async.browser import COOKIE_NAME, SCRIPT_PATH, read_visitor, script_reply
from alhena_async.events import Visitor
from tests.chromium import Watched
from tests.patience import PATIENCE

POLICY = (
    "default-src 'none'; script-src 'self'; frame-src 'self'; img-src data:; "
    "connect-src 'self' http://127.0.0.1:*"
)
SCRIPTS = ("spy.js", "options.js", "widget.js")
PAGE = """<!doctype html><meta charset="utf-8"><title>A shop</title>
<link rel="icon" href="data:,"><button>Add</button>
<script src="spy.js"></script><script src="options.js"></script><script src="widget.js"></script>
SCRIPT"""

# Whatever a test's widget does, the test can see what was called, and fire the vendor's events.
SPY = """
window.calls = [];
window.widget = (fingerprint, faq, more = {}) => {
  const listeners = [];
  return {
    getFingerprint: () => { calls.push("fingerprint"); return fingerprint(); },
    getFAQFingerprint: () => { calls.push("faq"); return faq(); },
    on: (name, act) => { listeners.push([name, act]); },
    fire: (name) => listeners.forEach(([one, act]) => { if (one === name) act({}); }),
    listeners,
    ...more,
  };
};
"""
USUAL_WIDGET = 'window.gleenWidget = widget(() => "fp-1", () => "faq-1");'
USUAL_CLAIM = "fp-1:faq-1"


def widget(fingerprint: str, faq: str) -> str:
    """A widget whose getters return these expressions."""
    return f"window.gleenWidget = widget(() => {fingerprint}, () => {faq});"


class Shown:
    """An open page of the shop."""

    def __init__(self, watched: Watched) -> None:
        self.page = watched.page
        self.complaints = watched.complaints

    async def run(self, script: str) -> Any:
        """Run a script in the page, and let what it set off come to rest."""
        result = await self.page.evaluate(script)
        await self.page.evaluate("new Promise((done) => queueMicrotask(done))")
        return result

    async def header(self) -> str | None:
        """What the page would send in the header."""
        header: str | None = await self.run("alhenaVisitor.header()")
        return header

    async def cookie(self) -> dict[str, Any] | None:
        """The cookie as the browser keeps it; None without one."""
        kept = [one for one in await self.page.context.cookies() if one["name"] == COOKIE_NAME]
        assert len(kept) <= 1
        return kept[0] if kept else None

    async def claim(self) -> str | None:
        """The cookie's value, which the header must equal."""
        kept = await self.cookie()
        value = None if kept is None else kept["value"]
        assert await self.header() == value
        return value


class Shop:
    """Serves pages, and reads the visitor of each request as a shop's server does.

    Two tabs show all pages, one after the other: the second one's timers stand still.
    """

    def __init__(self, browser: Any) -> None:
        self.origin = ""
        self.visitors: list[Visitor | None] = []
        self._browser = browser
        self._tabs: dict[bool, Watched] = {}
        self._files: dict[str, str] = {}
        self._pages = 0
        self._lenient: set[str] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Shop]:
        """Serve on a free port of loopback."""
        application = web.Application()
        application.router.add_get(SCRIPT_PATH, self._visitor_script)
        application.router.add_get("/visitor", self._visitor)
        application.router.add_get("/{page}/{name:.*}", self._file)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            for tab in self._tabs.values():
                await tab.page.context.close()
            await runner.cleanup()

    @asynccontextmanager
    async def page(
        self,
        widget: str = USUAL_WIDGET,
        options: str = "",
        *,
        tag: str = "",
        script: str | None = None,
        clock: bool = False,
    ) -> AsyncIterator[Shown]:
        """Open a page without any cookie.

        Args:
            widget: The stand-in widget's script, run before the visitor script.
            options: The shop's own script, run before both.
            tag: Attributes of the visitor script's tag.
            script: What loads the visitor script instead of a tag; its page allows inline scripts.
            clock: Whether the page's timers stand still until the test moves them on.
        """
        async with asyncio.timeout(PATIENCE):  # a script that never answers fails, and hangs nobody
            tab = await self._tab(clock=clock)
            await tab.page.goto("about:blank")  # whatever the last page was about, it is over
            await tab.page.context.clear_cookies()
            tab.complaints.clear()
            await tab.page.goto(self.add_page(widget, options, tag, script))
            yield Shown(tab)

    async def _tab(self, *, clock: bool) -> Watched:
        if clock not in self._tabs:
            context = await self._browser.new_context()
            self._tabs[clock] = Watched(await context.new_page(), self.origin)
            if clock:
                await self._tabs[clock].page.clock.install(time=0)
                await self._tabs[clock].page.clock.pause_at(1)
        return self._tabs[clock]

    def add_page(
        self,
        widget: str = USUAL_WIDGET,
        options: str = "",
        tag: str = "",
        script: str | None = None,
    ) -> str:
        """Return the address of one more page."""
        self._pages += 1
        if script is not None:
            self._lenient.add(str(self._pages))
        usual = f'<script src="{SCRIPT_PATH}" {tag}></script>'
        page = {"": PAGE.replace("SCRIPT", usual if script is None else script)}
        page |= zip(SCRIPTS, (SPY, options, widget), strict=True)
        self._files |= {f"{self._pages}/{name}": text for name, text in page.items()}
        return f"{self.origin}/{self._pages}/"

    async def _file(self, request: web.Request) -> web.Response:
        text = self._files["{page}/{name}".format(**request.match_info)]
        kind = "text/javascript" if request.match_info["name"] else "text/html"
        headers = {"Content-Security-Policy": POLICY}
        if request.match_info["page"] in self._lenient:
            headers = {}
        return web.Response(text=text, content_type=kind, headers=headers)

    async def _visitor_script(self, request: web.Request) -> web.Response:
        reply = script_reply(request.method)
        return web.Response(body=reply.body, headers=dict(reply.headers))

    async def _visitor(self, request: web.Request) -> web.Response:
        self.visitors.append(read_visitor(request.raw_headers))
        return web.Response(text="read")
