"""The real transport against servers that mean harm, and through TLS, proxies and connectors."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import ssl
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yarl

from alhena_async import AlhenaClient, HttpPolicy, Outcome, OutcomeStatus, RetryPolicy
from alhena_async._http.transport import proxy_in_environment
from alhena_async.emulator import Emulator
from tests.raw_server import PEM, SUCCESS, always, answer, server, tls_of_nobody
from tests.scripted import cart

ONCE = RetryPolicy(max_attempts=1)


async def outcome_at(url: str, *, retry: RetryPolicy = ONCE, **http: Any) -> Outcome:
    """Send one event and return how it ended."""
    policy = HttpPolicy(**{"request_timeout": 2.0, **http})
    async with AlhenaClient("shop", base_url=url, retry=retry, http=policy) as client:
        receipt = client.track_nowait(cart())
        await client.flush()
        return await receipt


async def test_an_endless_body_is_not_read_past_its_bound() -> None:
    """The connection is dropped at `max_reply_bytes`, and the reply judged by what came."""
    written = 0

    async def serve(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            await writer.drain()
            written += 65_536

    async with server(serve) as url:
        outcome = await outcome_at(url, max_reply_bytes=10_000)
    assert outcome.status is OutcomeStatus.EXPIRED
    assert "not the API's" in str(outcome.detail)
    assert len(str(outcome.detail)) < 2_000
    assert written < 50_000_000


async def test_a_body_that_drips_ends_with_the_request_timeout() -> None:
    """One byte at a time does not hold an event for ever."""

    async def serve(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with server(serve) as url:
        outcome = await outcome_at(url, request_timeout=1.0)
    assert outcome.ambiguous
    assert "no reply in time" in str(outcome.detail)


HOSTILE = {
    "header bomb": b"HTTP/1.1 200 OK\r\nX-Bomb: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200_000 + b"\r\n",
    "no http": b"SSH-2.0-OpenSSH_9.7\r\n",
    "nothing": b"",
    "nonsense status": b"HTTP/1.1 abc\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "gzip bomb": answer(gzip.compress(b"x" * 5_000_000), "Content-Encoding: gzip"),
    "false gzip": answer(b"no gzip", "Content-Encoding: gzip"),
    "html": answer(b"<html>502 Bad Gateway</html>", "Content-Type: text/html"),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_reply_is_a_transient_failure(kind: str) -> None:
    """It is no success and no refusal, it takes no memory, and the client lives on."""
    async with server(always(HOSTILE[kind])) as url:
        outcome = await outcome_at(url)
    assert outcome.status is OutcomeStatus.EXPIRED
    assert outcome.ambiguous
    assert len(str(outcome.detail)) < 2_000


async def test_a_redirect_is_not_followed() -> None:
    """A POST may not wander to another host: terminal, and the message says what to check."""
    async with (
        Emulator() as emulator,
        server(
            always(answer(b"", f"Location: {emulator.url}", status="307 Temporary Redirect"))
        ) as url,
    ):
        outcome = await outcome_at(url)
        assert emulator.requests == 0
    assert outcome.status is OutcomeStatus.REJECTED
    assert "check the region or the base URL" in str(outcome.detail)


async def test_no_cookie_is_sent_back() -> None:
    """Whatever the server sets, the next request carries none."""
    heads: list[bytes] = []

    async def serve(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        heads.append(head)
        writer.write(answer(SUCCESS, "Set-Cookie: track=1; Path=/", "Connection: close"))
        await writer.drain()

    async with server(serve) as url, AlhenaClient("shop", base_url=url) as client:
        for _ in range(2):
            assert (await client.record(cart())).ok
    assert len(heads) == 2
    assert not any(b"cookie" in head.lower() for head in heads)


async def test_an_unknown_ca_is_transient_and_named() -> None:
    """Nothing was sent, so nothing is ambiguous; with the CA given, it works."""
    async with server(always(answer(SUCCESS)), tls_of_nobody()) as url:
        outcome = await outcome_at(url)
        assert outcome.status is OutcomeStatus.EXPIRED
        assert not outcome.ambiguous
        assert "Certificate" in str(outcome.detail)
        trusting = ssl.create_default_context(cafile=str(PEM))
        assert (await outcome_at(url, ssl=trusting)).status is OutcomeStatus.RECORDED


async def test_a_host_that_nobody_knows_is_not_ambiguous() -> None:
    """No name, no port: the request certainly never left."""
    for url in ("https://nobody.invalid/", "http://127.0.0.1:9/"):
        outcome = await outcome_at(url)
        assert outcome.status is OutcomeStatus.EXPIRED
        assert not outcome.ambiguous
        assert "no connection" in str(outcome.detail)


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


async def test_a_proxy_carries_plain_and_tls_requests() -> None:
    """Forwarded for http, tunnelled by CONNECT for https; the API sees nobody else."""
    asked: list[bytes] = []

    async def proxy(
        head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, target, _ = head.split(b" ", 2)
        asked.append(method)
        place = target.decode() if method == b"CONNECT" else urlsplit(target.decode()).netloc
        host, port = place.rsplit(":", 1)
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            far_writer.write(head)
        await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))

    trusting = ssl.create_default_context(cafile=str(PEM))
    async with server(proxy) as proxy_url, Emulator() as emulator:
        assert (await outcome_at(emulator.url, proxy=proxy_url)).status is OutcomeStatus.RECORDED
        assert emulator.recorded_count == 1
        async with server(always(answer(SUCCESS)), tls_of_nobody()) as url:
            outcome = await outcome_at(url, proxy=proxy_url, ssl=trusting)
            assert outcome.status is OutcomeStatus.RECORDED
    assert asked == [b"POST", b"CONNECT"]


async def test_a_proxy_from_the_environment_carries_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for with `proxy="env"`, and not for a host that `NO_PROXY` names."""
    asked: list[bytes] = []

    async def proxy(
        head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        asked.append(head.split(b" ")[1])
        writer.write(answer(SUCCESS))

    for name in ("http_proxy", "https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with server(proxy) as proxy_url, Emulator() as emulator:
        monkeypatch.setenv("HTTP_PROXY", proxy_url)
        assert (await outcome_at(emulator.url)).status is OutcomeStatus.RECORDED
        assert (emulator.recorded_count, asked) == (1, [])
        assert (await outcome_at(emulator.url, proxy="env")).status is OutcomeStatus.RECORDED
        assert asked == [f"{emulator.url}analytics/cart_events".encode()]
        monkeypatch.setenv("NO_PROXY", "example.test,127.0.0.1")
        assert (await outcome_at(emulator.url, proxy="env")).status is OutcomeStatus.RECORDED
        assert (emulator.recorded_count, len(asked)) == (2, 1)


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://a.test/", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://a.test/", "http://p:1"),
        (
            {"HTTPS_PROXY": "http://P:1", "https_proxy": "http://p:1"},
            "https://a.test/",
            "http://p:1",
        ),
        ({"HTTP_PROXY": "http://p:1"}, "https://a.test/", None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://a.test/", None),
        ({"ALL_PROXY": "http://p:1"}, "https://a.test/", None),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://a.test/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://a.test/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "test"}, "https://a.test/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".a.test, b"}, "https://x.a.test/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.test"}, "https://a.test/", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.test:8443"}, "https://a.test:8443/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.test:1"}, "https://a.test/", "http://p:1"),
        ({"HTTPS_PROXY": "", "NO_PROXY": ""}, "https://a.test/", None),
    ],
)
def test_which_proxy_the_environment_names(
    environ: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the URL's scheme; lower case wins; `NO_PROXY` has names, their subdomains, or `*`."""
    monkeypatch.setattr(os, "environ", environ)
    assert proxy_in_environment(yarl.URL(url)) == proxy


@pytest.mark.parametrize("text", ["proxy:3128", "socks5://me:hunter2@proxy:1080"])
def test_a_proxy_of_the_environment_that_cannot_work_is_named(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the client is made, and without its password."""
    monkeypatch.setattr(os, "environ", {"HTTPS_PROXY": text})
    with pytest.raises(ValueError, match="HTTPS_PROXY must be an absolute http") as caught:
        AlhenaClient("shop", http=HttpPolicy(proxy="env"))
    assert "hunter2" not in str(caught.value)


async def test_a_proxy_that_refuses_is_named_and_not_ambiguous() -> None:
    """The tunnel never came about."""
    refusal = always(answer(b"", status="403 Forbidden"))
    async with server(refusal) as proxy_url:
        outcome = await outcome_at("https://example.test/", proxy=proxy_url)
    assert not outcome.ambiguous
    assert "Proxy" in str(outcome.detail)


async def test_a_connector_of_ones_own_stays_open_and_a_made_one_is_closed() -> None:
    """An instance is its owner's to close; what a factory made is the client's."""
    made: list[aiohttp.TCPConnector] = []

    def make() -> aiohttp.TCPConnector:
        made.append(aiohttp.TCPConnector(limit=2))
        return made[-1]

    async with Emulator() as emulator:
        async with aiohttp.TCPConnector(limit=1) as own:
            assert (await outcome_at(emulator.url, connector=own)).ok
            assert not own.closed
        assert (await outcome_at(emulator.url, connector=make)).ok
        assert [connector.closed for connector in made] == [True]
