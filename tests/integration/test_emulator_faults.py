"""The emulator's faults, as the bytes on the wire show them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from alhena_async.emulator import Emulator, Fault, FaultKind, FaultPlan
from tests.patience import PATIENCE

BODY = json.dumps(
    {
        "company_key": "shop",
        "user_fingerprint": "fp",
        "user_faq_fingerprint": "faq",
        "type": "ITEM_ADDED",
        "product_id": "mug",
        "product_name": "Mug",
        "value": 9.5,
        "currency": "EUR",
        "quantity": 1,
    }
).encode()


class Answer(NamedTuple):
    """A reply taken apart: status line, headers, and the body's bytes."""

    status: int
    headers: dict[str, str]
    body: bytes


@contextlib.asynccontextmanager
async def sent(
    emulator: Emulator, body: bytes = BODY
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send one cart event on a connection of its own."""
    address = urlsplit(emulator.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST /analytics/cart_events HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(emulator: Emulator) -> Answer:
    """Send one cart event and read until the connection ends."""
    async with sent(emulator) as (reader, _), asyncio.timeout(PATIENCE):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    return Answer(int(first.split()[1]), headers, body)


async def test_a_scripted_status_is_answered_once() -> None:
    """Status, Retry-After, body and headers as scripted; the event is not recorded."""
    async with Emulator() as emulator:
        emulator.script(
            Fault(
                FaultKind.STATUS,
                status=429,
                retry_after=2,
                body="slow down",
                headers={"X-Why": "y"},
            )
        )
        faulty, normal = await ask(emulator), await ask(emulator)
        assert (faulty.status, faulty.body) == (429, b"slow down")
        assert (faulty.headers["Retry-After"], faulty.headers["X-Why"]) == ("2", "y")
        assert normal.status == 200
        assert (emulator.requests, emulator.recorded_count) == (2, 1)
        assert emulator.faulted == {FaultKind.STATUS: 1}


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 418, 425, 500, 503, 599])
async def test_any_status_can_be_scripted(status: int) -> None:
    """Standard or not, 200 to 599."""
    async with Emulator() as emulator:
        emulator.script(Fault("status", status=status))
        assert (await ask(emulator)).status == status
        assert emulator.recorded() == []


async def test_scripted_faults_come_in_order_and_before_the_plan() -> None:
    """First the script, then the random plan again."""
    async with Emulator(faults=FaultPlan.parse(["error=1:599"])) as emulator:
        emulator.script(Fault("status", status=401), Fault("status", status=402))
        emulator.script(Fault("status", status=403))
        assert [(await ask(emulator)).status for _ in range(4)] == [401, 402, 403, 599]
        emulator.plan(FaultPlan())
        assert (await ask(emulator)).status == 200


async def test_status_after_has_recorded_the_event() -> None:
    """A 500 that the sender cannot trust."""
    async with Emulator() as emulator:
        emulator.script(Fault("status-after", status=500))
        assert (await ask(emulator)).status == 500
        assert emulator.recorded_count == 1


@pytest.mark.parametrize(("kind", "recorded"), [("reset-before", 0), ("reset-after", 1)])
async def test_a_reset_is_a_tcp_reset(kind: FaultKind, recorded: int) -> None:
    """The peer sees ECONNRESET, no reply; recorded or not as the kind says."""
    async with Emulator() as emulator:
        emulator.script(Fault(kind))
        with pytest.raises(ConnectionResetError):
            await ask(emulator)
        assert emulator.recorded_count == recorded


@pytest.mark.parametrize(("kind", "recorded"), [("hang", 0), ("hang-after", 1)])
async def test_a_hang_ends_when_the_peer_leaves(kind: FaultKind, recorded: int) -> None:
    """Nothing is answered, and nothing stays behind once the peer is gone."""
    async with Emulator() as emulator:
        emulator.script(Fault(kind))
        async with sent(emulator) as (reader, _):
            await emulator.wait_until(lambda: emulator.in_flight == 1, timeout=PATIENCE)
            assert emulator.recorded_count == recorded
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await reader.read(1)
        await emulator.wait_until(lambda: emulator.in_flight == 0, timeout=PATIENCE)


async def test_a_stop_ends_every_hang() -> None:
    """Stop waits for no sleeper: each hanging peer is reset, late answers are cut short."""
    emulator = Emulator()
    await emulator.start()
    emulator.script(Fault("hang"), Fault("hang-after"), Fault("status", status=500, latency=3600))
    waiting = [asyncio.ensure_future(ask(emulator)) for _ in range(3)]
    await emulator.wait_until(lambda: emulator.in_flight == 3, timeout=PATIENCE)
    async with asyncio.timeout(PATIENCE):
        await emulator.stop()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(end, ConnectionResetError) for end in ends) >= 2
    assert emulator.in_flight == 0


async def test_a_truncated_reply_promises_more_than_it_sends() -> None:
    """Fewer bytes than Content-Length; the event is recorded."""
    async with Emulator() as emulator:
        emulator.script(Fault("truncated"), Fault("truncated", body="x" * 10))
        for _ in range(2):
            answer = await ask(emulator)
            assert answer.status == 200
            assert 0 < len(answer.body) < int(answer.headers["Content-Length"])
        assert emulator.recorded_count == 2


async def test_a_proxy_answers_html() -> None:
    """200 and a page; the event never reached the API."""
    async with Emulator() as emulator:
        emulator.script(Fault("html"))
        answer = await ask(emulator)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert answer.body.startswith(b"<!DOCTYPE html>")
        assert emulator.recorded() == []


async def test_latency_shows_overlap() -> None:
    """Two requests of a visitor handled at once are seen, and both are answered normally."""
    async with Emulator() as emulator:
        await ask(emulator)
        await ask(emulator)
        assert emulator.max_in_flight_per_visitor == 1
        emulator.script(Fault("latency", latency=0.05), Fault("latency", latency=0.05))
        answers = await asyncio.gather(ask(emulator), ask(emulator))
        assert [answer.status for answer in answers] == [200, 200]
        assert emulator.max_in_flight_per_visitor == emulator.max_in_flight == 2


async def test_a_fault_keeps_the_refusal_of_a_bad_event() -> None:
    """A recording fault judges as usual: what is no event is not recorded."""
    async with Emulator(companies=["other"]) as emulator:
        emulator.script(Fault("latency", latency=0.001))
        assert (await ask(emulator)).status == 404
        assert emulator.refusals == {"COMPANY_NOT_FOUND": 1}


async def test_random_faults_leave_the_books_exact() -> None:
    """Under a plan of everything, each request is recorded or faulted as its kind says."""
    plan = FaultPlan.parse(["error=10%", "reset=10%", "truncated=5%", "latency=5%:1ms"], seed=3)
    async with Emulator(faults=plan) as emulator:
        for _ in range(100):
            with contextlib.suppress(ConnectionResetError):
                await ask(emulator)
        lost = sum(count for kind, count in emulator.faulted.items() if not kind.records)
        assert emulator.faulted
        assert emulator.recorded_count == emulator.requests - lost == 100 - lost
