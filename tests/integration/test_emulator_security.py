"""The emulator against a hostile browser tab: hosts, origins, tokens, headers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from alhena_async.emulator import Emulator
from tests.patience import PATIENCE

TOKEN = "X-Emulator-Token"
CONTROL = [
    ("GET", "_emulator/state"),
    ("GET", "_emulator/events"),
    ("GET", "_emulator/recorded"),
    ("GET", "_emulator/refused"),
    ("POST", "_emulator/tickets"),
    ("DELETE", "_emulator/tickets"),
    ("POST", "_emulator/faults"),
    ("DELETE", "_emulator/faults"),
    ("POST", "_emulator/reset"),
]
EVERYTHING = [
    ("GET", ""),
    ("POST", "analytics/cart_events"),
    ("POST", "analytics/checkout_events"),
    *CONTROL,
]


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def status(
    session: aiohttp.ClientSession, emulator: Emulator, method: str, path: str, **headers: str
) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body: Any = {} if method == "POST" else None
    async with session.request(method, emulator.url + path, json=body, headers=named) as reply:
        return reply.status


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
    ],
    ids=["rebound", "foreign", "opaque", "cross-site"],
)
async def test_a_hostile_tab_gets_nothing(
    session: aiohttp.ClientSession,
    emulator: Emulator,
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    """Every path refuses a rebound host, a foreign origin and another site, token or not."""
    given = {**headers, "X_Emulator_Token": emulator.token}
    assert await status(session, emulator, method, path, **given) == 403
    assert emulator.requests == 0


@pytest.mark.parametrize(("method", "path"), CONTROL)
@pytest.mark.parametrize("token", [None, "", "wrong"])
async def test_control_wants_the_token(
    session: aiohttp.ClientSession, emulator: Emulator, method: str, path: str, token: str | None
) -> None:
    """Without the token of this start, control endpoints do nothing."""
    given = {} if token is None else {"X_Emulator_Token": token}
    assert await status(session, emulator, method, path, **given) == 403


async def test_only_the_page_may_be_opened_by_a_link(
    session: aiohttp.ClientSession, emulator: Emulator
) -> None:
    """A link on another site may open the page in a tab; it may open nothing else."""
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert await status(session, emulator, "GET", "", **link) == 200
    assert await status(session, emulator, "GET", "_emulator/state", **link) == 403


async def test_security_headers_are_on_every_reply(
    session: aiohttp.ClientSession, emulator: Emulator
) -> None:
    """The page, errors and control replies alike."""
    for path in ("", "nowhere", "_emulator/state"):
        async with session.get(emulator.url + path) as reply:
            headers = reply.headers
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in headers


async def test_the_page_is_one_file_with_a_fresh_nonce(
    session: aiohttp.ClientSession, emulator: Emulator
) -> None:
    """It carries the token, loads nothing from elsewhere, has no inline handlers or styles."""
    pages = []
    for _ in range(2):
        async with session.get(emulator.url) as reply:
            text, policy = await reply.text(), reply.headers["Content-Security-Policy"]
        nonce = policy.split("'nonce-")[1].split("'")[0]
        assert text.count(f'nonce="{nonce}"') == 2
        assert f'content="{emulator.token}"' in text
        assert "{{" not in text
        assert "unsafe" not in policy
        assert " src=" not in text
        assert " style=" not in text
        assert "innerHTML" not in text
        pages.append(nonce)
    assert pages[0] != pages[1]


async def test_scripts_can_control_the_emulator(
    session: aiohttp.ClientSession, emulator: Emulator
) -> None:
    """With the token: script a fault, open a ticket, read the state, reset."""
    headers = {TOKEN: emulator.token}

    async def control(name: str, body: object) -> int:
        where = f"{emulator.url}_emulator/{name}"
        async with session.post(where, json=body, headers=headers) as reply:
            return reply.status

    faults = [{"kind": "status", "status": 503, "retry_after": 2}, {"kind": "html"}]
    assert await control("faults", {"faults": faults}) == 200
    assert await control("tickets", {"fingerprint": "a", "faq_fingerprint": "b"}) == 200
    async with session.post(f"{emulator.url}analytics/cart_events", json={}) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
    async with session.get(f"{emulator.url}_emulator/state", headers=headers) as reply:
        state = await reply.json()
    assert (state["requests"], state["scripted"], state["tickets"]) == (1, 1, 1)
    assert await control("reset", {}) == 200
    assert emulator.requests == 0


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("faults", b"[]"),
        ("faults", b"{"),
        ("faults", b'{"faults": 1}'),
        ("faults", b'{"faults": [{"kind": "nope"}]}'),
        ("faults", b'{"faults": [{"kind": "status"}]}'),
        ("faults", b'{"faults": [{"kind": "status", "status": "x"}]}'),
        ("faults", b'{"faults": [{"kind": "status", "status": 500, "status_": 1}]}'),
        ("faults", b'{"faults": [{"kind": "html", "body": 5}]}'),
        ("faults", b'{"faults": [{"kind": "html", "headers": {"A": "b\\r\\nC: d"}}]}'),
        ("faults", b'{"faults": [{"kind": "latency", "latency": []}]}'),
        ("tickets", b'{"fingerprint": "a"}'),
        ("tickets", b'{"fingerprint": 1, "faq_fingerprint": "b"}'),
        ("tickets", b" " * 100_000),
    ],
)
async def test_a_bad_control_body_is_400(
    session: aiohttp.ClientSession, emulator: Emulator, name: str, body: bytes
) -> None:
    """It says what is wrong, and changes nothing."""
    headers = {TOKEN: emulator.token, "Content-Type": "application/json"}
    where = f"{emulator.url}_emulator/{name}"
    async with session.post(where, data=body, headers=headers) as reply:
        assert reply.status == 400
        assert (await reply.json())["message"]
    async with session.post(f"{emulator.url}analytics/cart_events", json={}) as reply:
        assert reply.status == 400


async def read_state(stream: aiohttp.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while not (line := await stream.readline()).startswith(b"data: "):
            pass
    state: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
    return state


async def test_the_stream_sends_states_not_events(
    session: aiohttp.ClientSession, emulator: Emulator
) -> None:
    """A state at once, then one a period at most, however much happens, with nothing missed."""
    where = f"{emulator.url}_emulator/events"
    async with session.get(where, params={"token": emulator.token}) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert (await read_state(stream.content))["refused"] == 0
        began = time.monotonic()
        for _ in range(300):
            async with session.post(f"{emulator.url}analytics/cart_events", json={}) as reply:
                assert reply.status == 400
        messages, state = 1, await read_state(stream.content)
        while state["refused"] < 300:
            messages, state = messages + 1, await read_state(stream.content)
        assert messages <= 2 + (time.monotonic() - began) / 0.1


async def test_a_tab_that_never_reads_slows_nobody(
    session: aiohttp.ClientSession, emulator: Emulator
) -> None:
    """Recording goes on beside a listener that takes nothing, and so does the stop."""
    where = f"{emulator.url}_emulator/events"
    async with session.get(where, params={"token": emulator.token}):
        for _ in range(300):
            async with session.post(f"{emulator.url}analytics/cart_events", json={}) as reply:
                assert reply.status == 400
        async with asyncio.timeout(PATIENCE):
            await emulator.stop()
    assert emulator.requests == 300


async def test_the_number_of_listeners_is_bounded(
    session: aiohttp.ClientSession, emulator: Emulator
) -> None:
    """The 33rd stream is told to come back later."""
    where = f"{emulator.url}_emulator/events?token={emulator.token}"
    streams = [await session.get(where) for _ in range(33)]
    assert [stream.status for stream in streams] == [200] * 32 + [503]
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com"])
def test_only_loopback_is_bound(host: str) -> None:
    """Any other address is refused before anything is bound."""
    with pytest.raises(ValueError, match="loopback only"):
        Emulator(host=host)
