"""TLS with real certificates: an event goes to nobody but the host that it is meant for.

Where the other end cannot show that it is that host, not a byte of the event leaves, nothing is in
doubt, and the event waits for a server that can.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import trustme

from alhena_async import AlhenaClient, HttpPolicy, OutcomeStatus, RetryPolicy
from tests.integration.test_exchange import LongWay
from tests.raw_server import SUCCESS, always, answer, server
from tests.scripted import cart

TODAY = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
BROKEN = {
    "wrong host": AUTHORITY.issue_cert("elsewhere.invalid"),
    "expired": AUTHORITY.issue_cert("127.0.0.1", not_before=TODAY - 9 * DAY, not_after=TODAY - DAY),
    "not yet": AUTHORITY.issue_cert("127.0.0.1", not_before=TODAY + DAY, not_after=TODAY + 9 * DAY),
    "another authority": STRANGER.issue_cert("127.0.0.1"),
    "name alone": AUTHORITY.issue_cert(common_name="127.0.0.1"),
}
OLD = {"1.0": ssl.TLSVersion.TLSv1, "1.1": ssl.TLSVersion.TLSv1_1}


def served_by(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@pytest.fixture(params=[None, LongWay], ids=["short", "session"])
def connector(request: pytest.FixtureRequest) -> Callable[[], aiohttp.BaseConnector] | None:
    """Both ways of sending."""
    way: Callable[[], aiohttp.BaseConnector] | None = request.param
    return way


async def assert_nothing_is_sent(
    url: str, connector: Callable[[], aiohttp.BaseConnector] | None, **http: Any
) -> str:
    """Send an event that may try twice; return why it was not delivered."""
    policy = HttpPolicy(ssl=trusting(), connector=connector, **http)
    retry = RetryPolicy(max_attempts=2, base=0.01)
    async with AlhenaClient("shop", base_url=url, http=policy, retry=retry) as client:
        receipt = client.track_nowait(cart())
        await client.flush()
        outcome = await receipt
    assert outcome.status is OutcomeStatus.EXPIRED
    assert outcome.attempts == 2
    assert not outcome.ambiguous
    assert outcome.http_status is None
    return str(outcome.detail)


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_server_that_cannot_show_who_it_is_gets_nothing(
    kind: str, connector: Callable[[], aiohttp.BaseConnector] | None
) -> None:
    """And what is wrong with its certificate is said."""
    heads: list[bytes] = []

    async def serve(head: bytes, _: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        heads.append(head)

    async with server(serve, served_by(BROKEN[kind])) as url:
        detail = await assert_nothing_is_sent(url, connector)
    assert "ertificate" in detail
    assert heads == []


async def test_a_server_with_a_sound_certificate_gets_it(
    connector: Callable[[], aiohttp.BaseConnector] | None,
) -> None:
    """Otherwise none of the others would show anything."""
    async with server(always(answer(SUCCESS)), served_by(AUTHORITY.issue_cert("127.0.0.1"))) as url:
        policy = HttpPolicy(ssl=trusting(), connector=connector)
        async with AlhenaClient("shop", base_url=url, http=policy) as client:
            assert (await client.record(cart())).ok


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", OLD)
async def test_a_server_that_speaks_an_old_protocol_gets_nothing(
    version: str, connector: Callable[[], aiohttp.BaseConnector] | None
) -> None:
    """Below TLS 1.2 what is said can be read by others."""
    context = served_by(AUTHORITY.issue_cert("127.0.0.1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = OLD[version]
    async with server(always(answer(SUCCESS)), context) as url:
        detail = await assert_nothing_is_sent(url, connector)
    assert "no connection" in detail


@pytest.mark.parametrize(
    "beginning", [b"", b"\x16\x03\x03", b"HTTP/1.1 200 OK\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"]
)
@pytest.mark.parametrize("hangs_up", [False, True])
async def test_a_handshake_that_comes_to_no_end_sends_nothing(
    beginning: bytes, *, hangs_up: bool, connector: Callable[[], aiohttp.BaseConnector] | None
) -> None:
    """A server that stalls, breaks off, speaks another protocol, or sends an alert."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        if not hangs_up:
            while data := await reader.read(65_536):
                seen.append(data)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listener:
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        detail = await assert_nothing_is_sent(url, connector, connect_timeout=0.3)
    assert "no connection" in detail
    assert b"analytics" not in b"".join(seen)
