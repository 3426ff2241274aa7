"""A single-page shop on one origin, its API on another, and the documents' lines between them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from alhena_async import Visitor
from alhena_async.integrations.fastapi import VisitorDep, VisitorMiddleware
from tests.chromium import needs_chromium
from tests.shop_pages import USUAL_WIDGET, Shop

pytestmark = needs_chromium
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "browser.md"
FOREIGN_API = "https://api.shop.example"


def documented_request(api: str) -> str:
    """The lines that docs/browser.md shows, with another API's address, as one expression."""
    [lines] = re.findall(r"```js\n(const claim = .*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert FOREIGN_API in lines
    sent = lines.replace(FOREIGN_API, api).replace("fetch(", "return fetch(")
    return f"(() => {{ {sent} }})().then((reply) => reply.text())"


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[listening]), name="api")
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def api_of(visitors: list[Visitor | None], *, origins: list[str]) -> FastAPI:
    """An API that notes who asks, with the CORS middleware as docs/fastapi.md has it."""
    app = FastAPI()

    @app.post("/cart/{sku}")
    async def add(sku: str, visitor: VisitorDep) -> str:
        visitors.append(visitor)
        return sku

    app.add_middleware(VisitorMiddleware)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["X-Alhena-Visitor"],
    )
    return app


@pytest.mark.parametrize("widget", [USUAL_WIDGET, ""], ids=["widget", "no widget"])
async def test_the_header_reaches_an_api_on_another_origin(shop: Shop, widget: str) -> None:
    """With the pair where there is one, and without a header where there is none."""
    visitors: list[Visitor | None] = []
    app = api_of(visitors, origins=[shop.origin])
    async with serving(app) as api, shop.page(widget) as shown:
        assert await shown.page.evaluate(documented_request(api)) == '"mug-1"'
    usual = Visitor(fingerprint="fp-1", faq_fingerprint="faq-1")
    assert visitors == [usual if widget else None]


async def test_an_origin_that_is_not_named_reaches_nothing_with_the_header(shop: Shop) -> None:
    """The browser asks first, and the API does not allow it."""
    visitors: list[Visitor | None] = []
    app = api_of(visitors, origins=["https://shop.example"])
    async with serving(app) as api, shop.page() as shown:
        sent = f"{documented_request(api)}.catch(() => 'refused')"
        assert await shown.page.evaluate(sent) == "refused"
    assert visitors == []
