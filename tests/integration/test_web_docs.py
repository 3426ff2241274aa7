"""The recipes of docs/fastapi.md and docs/aiohttp.md do what they say."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestClient, TestServer

from alhena_async import Visitor
from alhena_async.browser import encode_visitor
from alhena_async.emulator import Emulator
from tests.scripted import cart
from tests.web.asgi import Answer, call, claimed_by, running
from tests.web.serving import served

DOCS = Path(__file__).parents[2] / "docs"
ANN = Visitor(
    fingerprint="550e8400-e29b-41d4-a716-446655440000",
    faq_fingerprint="660e8400-e29b-41d4-a716-446655441111",
)
CLAIM = {"X-Alhena-Visitor": encode_visitor(ANN)}
REGION = 'region="eu"'
JOURNAL = 'journal="var/alhena"'
TIMEOUT = ", timeout=0.5"

SIX_LINES = """\
from fastapi import FastAPI
from alhena_async import CartEvent
from alhena_async.integrations.fastapi import ClientDep, VisitorDep, VisitorMiddleware, alhena_lifespan

app = FastAPI(lifespan=alhena_lifespan("my-company", region="eu"))
app.add_middleware(VisitorMiddleware)

@app.post("/cart/{sku}")
async def add(sku: str, alhena: ClientDep, visitor: VisitorDep):
    if visitor:
        with alhena.reporting():
            alhena.track_nowait(CartEvent.for_change(visitor, before=0, after=1,
                product_id=sku, product_name="Mug", value=9.5, currency="EUR"))
"""  # fmt: skip  # noqa: E501 - as it is copied from the page


def blocks(name: str) -> list[str]:
    """The Python blocks of a page; each builds on those before it."""
    text = (DOCS / name).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def shown(name: str, base_url: str, journal: str) -> str:
    """All blocks of a page as one module, for another address and journal."""
    source = "\n".join(blocks(name))
    assert REGION in source
    assert JOURNAL in source
    source = source.replace(JOURNAL, f"journal={journal}")
    return source.replace(REGION, f"base_url={base_url!r}")


def page(name: str, base_url: str, journal: Path) -> dict[str, Any]:
    """Run a page as it is `shown`, and give its names."""
    names: dict[str, Any] = {"__name__": name}
    exec(shown(name, base_url, repr(str(journal))), names)
    return names


def products(emulator: Emulator) -> list[str | None]:
    return [event.product_id for event in emulator.recorded(fingerprint=ANN.fingerprint)]


def keeps(journal: Path) -> bool:
    """Whether a client has a file of its own in a journal's directory."""
    return any(journal.glob("*.events"))


def test_the_first_lines_are_these() -> None:
    """The ones that run below; nobody changed them on the page alone."""
    assert blocks("fastapi.md")[0] == SIX_LINES


async def test_the_first_lines_work_under_uvicorn(tmp_path: Path) -> None:
    """Copied as they stand, but for the address: script, cookie, header, drain at the end."""
    async with Emulator() as emulator:
        source = SIX_LINES.replace(REGION, f"base_url={emulator.url!r}")
        (tmp_path / "shop.py").write_text(source)
        command = ("uvicorn", "shop:app", "--port", "0")
        async with (
            served(*command, settings={}, cwd=tmp_path) as server,
            ClientSession() as browser,
        ):
            await server.written(r"127\.0\.0\.1:[1-9]")
            shop = f"http://127.0.0.1:{server.port}"
            async with browser.get(f"{shop}/alhena-visitor.js") as script:
                assert script.headers["Content-Type"].startswith("text/javascript")
            cookie = {"Cookie": f"alhena_visitor={encode_visitor(ANN)}"}
            for sku, headers in (("mug", cookie), ("cup", CLAIM), ("nothing", {})):
                async with browser.post(f"{shop}/cart/{sku}", headers=headers) as reply:
                    assert reply.status == 200
            server.send(signal.SIGTERM)
            await server.ended()
        assert products(emulator) == ["mug", "cup"]
        assert {event.company_key for event in emulator.recorded()} == {"my-company"}


OUTAGE_ORDERS = 8
ROOM = 5
FRAMEWORKS = {
    "fastapi.md": (("uvicorn", "shop:durable", "--port", "0"), ""),
    "aiohttp.md": (
        ("shop",),
        "import socket\nweb.run_app(durable, sock=socket.create_server(('127.0.0.1', 0)))\n",
    ),
}


@pytest.mark.parametrize("forgotten", [False, True], ids=["as shown", "timeout forgotten"])
@pytest.mark.parametrize("name", FRAMEWORKS)
async def test_a_durable_checkout_never_hangs(name: str, forgotten: bool, tmp_path: Path) -> None:
    """An outage longer than memory and journal: every order is answered, what had room is recorded.

    What had none is in the log. The page as it stands, but for address, directory and bounds.
    """
    command, end = FRAMEWORKS[name]
    async with Emulator() as emulator:
        address = emulator.url
        journal = f"SQLiteJournal({str(tmp_path / 'journal')!r}, max_rows={ROOM})"
        bounded = f"{journal}, queue=QueuePolicy(capacity={ROOM})"
        source = shown(name, address, bounded)
        assert TIMEOUT in source
        if forgotten:
            source = source.replace(TIMEOUT, "")
        source = f"from alhena_async import QueuePolicy, SQLiteJournal\n{source}\n{end}"
        (tmp_path / "shop.py").write_text(source)
        await emulator.stop()
        async with (
            served(*command, settings={}, cwd=tmp_path) as server,
            ClientSession(timeout=ClientTimeout(total=60)) as browser,
        ):
            await server.written(r"127\.0\.0\.1:[1-9]")
            for number in range(OUTAGE_ORDERS):
                url = f"http://127.0.0.1:{server.port}/orders/A{number}"
                async with browser.post(url, headers=CLAIM) as reply:
                    assert reply.status == 200
            assert "an event was not accepted" in server.log
            await emulator.start()
            await emulator.wait_until(lambda: emulator.recorded_count == ROOM, timeout=60)
            server.send(signal.SIGTERM)
            await server.ended()
        assert [event.order_id for event in emulator.recorded()] == [f"A{n}" for n in range(ROOM)]
        assert "Traceback" not in server.log


async def test_the_recipes_for_fastapi_work(tmp_path: Path) -> None:
    """`def` handlers, orders by webhook, CORS, a lifespan, overrides: the page as one program."""
    async with Emulator() as emulator:
        names = page("fastapi.md", emulator.url, tmp_path)
        app = names["app"]

        async def post(path: str) -> Answer:
            return await call(app, path, method="POST", headers=claimed_by(ANN), state=state)

        async with running(app) as state:
            for path in ("/cart/mug", "/wishlist/cup/to-cart", "/orders/A7", "/webhooks/paid/A7"):
                assert (await post(path)).status == 200
        assert products(emulator) == ["mug", "cup", None]
        assert [event.order_id for event in emulator.recorded(kind="checkout")] == ["A7"]
        asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        asked |= {"access-control-request-headers": "x-alhena-visitor"}
        question = [(name.encode(), value.encode()) for name, value in asked.items()]
        answer = await call(app, "/cart/mug", method="OPTIONS", headers=question)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "X-Alhena-Visitor" in answer.headers["access-control-allow-headers"]
        async with running(names["with_resources"]) as state:
            assert state["answers"] == 42
        async with running(names["durable"]) as state:
            answer = await call(
                names["durable"], "/orders/A8", method="POST", headers=claimed_by(ANN), state=state
            )
            assert answer.status == 200
            assert keeps(tmp_path)
        assert emulator.recorded(kind="checkout")[-1].order_id == "A8"
        starlette = names["starlette_app"]
        async with running(starlette) as state:
            await call(starlette, "/mug", method="POST", headers=claimed_by(ANN), state=state)
        assert products(emulator)[-1] == "mug-1"


async def test_the_recipes_for_aiohttp_work(tmp_path: Path) -> None:
    """The first lines, a thread, CORS: the page as one program."""
    async with Emulator() as emulator:
        names = page("aiohttp.md", emulator.url, tmp_path)
        async with TestClient(TestServer(names["app"])) as browser:
            assert (await browser.get("/alhena-visitor.js")).status == 200
            for path in ("/cart/mug", "/slow"):
                assert (await browser.post(path, headers=CLAIM)).status == 200
        assert products(emulator) == ["mug", "mug-1"]
        async with TestClient(TestServer(names["durable"])) as browser:
            assert (await browser.post("/orders/A8", headers=CLAIM)).status == 200
            assert keeps(tmp_path)
        assert emulator.recorded(kind="checkout")[-1].order_id == "A8"
        async with TestClient(TestServer(names["single_page"])) as browser:
            asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
            answer = await browser.options("/cart/cup", headers=asked)
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert answer.headers["Access-Control-Allow-Headers"] == "X-Alhena-Visitor"
            stranger = {"Origin": "https://elsewhere.example"}
            answer = await browser.post("/cart/cup", headers={**CLAIM, **stranger})
            assert "Access-Control-Allow-Origin" not in answer.headers
        assert products(emulator)[-1] == "cup"


async def test_the_test_in_the_aiohttp_page_passes(tmp_path: Path) -> None:
    """With the fixture that pytest-aiohttp gives it."""
    clients: list[TestClient[web.Request, web.Application]] = []

    async def aiohttp_client(app: web.Application) -> TestClient[web.Request, web.Application]:
        clients.append(TestClient(TestServer(app)))
        await clients[-1].start_server()
        return clients[-1]

    async with Emulator() as emulator:
        names = page("aiohttp.md", emulator.url, tmp_path)
        await names["test_a_mug"](aiohttp_client)
    assert len(clients) == 1


@pytest.mark.parametrize("name", ["fastapi.md", "aiohttp.md"])
def test_the_pages_say_what_must_not_be_missed(name: str) -> None:
    """A claim is no identity; and how long the drain takes."""
    text = " ".join((DOCS / name).read_text().split())
    assert "never for identity" in text
    assert "(5 by default)" in text


async def test_the_flask_shop_of_the_page_as_it_is_copied() -> None:
    """docs/wsgi.md: its shop tracks an event of a claimed visitor, and serves the script."""
    async with Emulator() as emulator:
        source = blocks("wsgi.md")[0].replace(REGION, f"base_url={emulator.url!r}")
        module: dict[str, Any] = {"__name__": "shop"}
        exec(source, module)

        def browse() -> None:
            browser = module["app"].test_client()
            assert browser.post("/cart/mug", headers=CLAIM).text == "added"
            assert browser.get("/alhena-visitor.js").status_code == 200
            module["alhena"].close()

        await asyncio.to_thread(browse)
        [event] = emulator.recorded()
    assert (event.product_id, event.fingerprint) == ("mug", ANN.fingerprint)


async def test_the_script_of_the_page_as_it_is_copied() -> None:
    """docs/wsgi.md: a loop over orders, which waits for room."""
    async with Emulator() as emulator:
        source = blocks("wsgi.md")[1].replace(REGION, f"base_url={emulator.url!r}")
        module: dict[str, Any] = {
            "orders": range(3),
            "to_event": lambda n: cart("ann", product=str(n)),
        }
        await asyncio.to_thread(exec, source, module)
        assert len(emulator.recorded()) == 3
