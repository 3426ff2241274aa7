"""What `alhena doctor --page` says of the browser's half: script, widget and cookie of a page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs

from alhena_async.browser import COOKIE_NAME, SCRIPT_PATH
from alhena_async.cli._findings import Finding, error, info, ok, warning
from alhena_async.policies import Region, is_loopback

__all__ = ["Page", "PageError", "fetch", "judge_page", "page_findings"]

_MOST_BYTES: Final = 4 << 20

_PATIENCE: Final = 10.0
"""Seconds for the page, and for the script."""

_SCRIPT: Final = SCRIPT_PATH.rsplit("/", 1)[-1]

_WIDGET: Final = re.compile(r"gleenWidget\.js|gleenConfig|gleenWidget")

_REGIONAL_HOSTS: Final = {urlsplit(region.base_url).hostname for region in Region}

_BASE: Final = re.compile(r"apiBaseUrl\s*[:=]\s*['\"]([^'\"]{1,300})")


class PageError(Exception):
    """A page cannot be read; the message says which, and why."""


class UnreachedPageError(PageError):
    """Whoever serves the page did not."""


@attrs.define
class Page:
    """What a page's HTML says of scripts."""

    sources: list[str] = attrs.Factory(list)
    """Where its scripts are."""
    inline: list[str] = attrs.Factory(list)
    """The text of those that it holds."""


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self._is_inside = True
            source = dict(attrs).get("src")
            if source:
                self.page.sources.append(source)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.page.inline.append(data)


def scripts_in(html: str) -> Page:
    """Return the scripts of a page."""
    parser = _Scripts()
    parser.feed(html)
    parser.close()
    return parser.page


async def page_findings(where: str, base_url: str) -> list[Finding]:
    """Read a page, and the script that it names, and judge both.

    Args:
        where: A file, or a URL on this machine.
        base_url: Where events go: the widget should talk to the same host.

    Raises:
        PageError: It is no file that can be read, or lies elsewhere.
    """
    try:
        page = scripts_in(await fetch(where))
    except UnreachedPageError as problem:
        cure = "start the shop, or give the address of a page; one that was saved will do as well"
        return [error(f"page: {problem}", cure)]
    return [*judge_page(page, base_url), *await _script(where, page)]


async def fetch(where: str) -> str:
    """Return the text of a file, or of a URL on this machine.

    Raises:
        PageError: It cannot be read, or lies elsewhere.
    """
    url = urlsplit(where)
    if url.scheme not in {"http", "https"}:
        return await asyncio.to_thread(_read_file, Path(where))
    if not is_loopback(url.hostname or ""):
        raise PageError(f"{where}: only pages of this machine are fetched; save it to a file")
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(where, allow_redirects=False) as response,
        ):
            if not response.ok or response.status != _OK:
                raise UnreachedPageError(f"{where} answers HTTP {response.status}")
            body = await response.content.read(_MOST_BYTES)
    except (aiohttp.ClientError, OSError, TimeoutError) as problem:
        why = f"{where} cannot be fetched: {type(problem).__name__}"
        raise UnreachedPageError(why) from None
    return body.decode("utf-8", "replace")


_OK: Final = 200


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError as problem:
        raise PageError(f"{path} cannot be read: {problem.strerror}") from None


def _is_ours(source: str) -> bool:
    return urlsplit(source).path.rsplit("/", 1)[-1] == _SCRIPT


def judge_page(page: Page, base_url: str) -> Iterator[Finding]:
    """Judge the HTML alone."""
    if any(map(_is_ours, page.sources)):
        yield ok(f"page: it loads {_SCRIPT}")
    elif any(COOKIE_NAME in text for text in page.inline):
        yield ok(f"page: {_SCRIPT} stands in it, or in a bundle of its own")
    else:
        yield error(
            f"page: it does not load {_SCRIPT}, so no visitor reaches the server",
            f'put <script src="{SCRIPT_PATH}" defer></script> into it (docs/browser.md); in a '
            "bundle this cannot be seen",
        )
    if not any(_WIDGET.search(text) for text in (*page.sources, *page.inline)):
        yield warning(
            "page: the chat widget is not in it, and only the widget knows the fingerprints",
            "put the widget's tag into it, unless a tag manager loads it",
        )
        return
    yield ok("page: the chat widget is in it")
    host = urlsplit(base_url).hostname or ""
    bases = [found for text in page.inline for found in _BASE.findall(text)]
    widgets = [source for source in page.sources if _is_widget_of_vendor(source)]
    for named in {urlsplit(one).hostname for one in (*bases, *widgets)}:
        if named and named != host and not is_loopback(host):
            yield warning(
                f"page: the widget talks to {named}, and events go to {host}",
                "let both be of the organisation's region",
            )


def _is_widget_of_vendor(source: str) -> bool:
    """Whether a script is the widget from a host that says of which region it is."""
    return bool(_WIDGET.search(source)) and urlsplit(source).hostname in _REGIONAL_HOSTS


async def _script(where: str, page: Page) -> list[Finding]:
    """Judge the script itself, where it can be read."""
    source = next(filter(_is_ours, page.sources), None)
    if source is None:
        return []
    place = _beside(where, source)
    if place is None:
        return [info(f"page: cannot tell which cookie is set: {source} was not looked at")]
    try:
        text = await fetch(place)
    except PageError as problem:
        cure = f"let the middleware serve {SCRIPT_PATH} (docs/fastapi.md), or correct the tag"
        return [error(f"page: the script is not there: {problem}", cure)]
    if f"{COOKIE_NAME}=" not in text:
        cure = f"let the page load the package's own {_SCRIPT}; the server reads no other cookie"
        return [error(f"page: {place} does not set the cookie {COOKIE_NAME}", cure)]
    return [ok(f"page: the script is served, and sets the cookie {COOKIE_NAME}")]


def _beside(where: str, source: str) -> str | None:
    """Return where a page's script is to be read; None if that is on another machine."""
    if urlsplit(where).scheme in {"http", "https"}:
        place = urljoin(where, source)
        return place if is_loopback(urlsplit(place).hostname or "") else None
    parts = urlsplit(source)
    if parts.scheme or parts.netloc:
        return None
    beside = Path(where).parent / parts.path.lstrip("/")
    return str(beside) if beside.is_file() else None
