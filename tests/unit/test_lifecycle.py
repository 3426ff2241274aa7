"""Start, run and close, in every order."""

import asyncio
import functools
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    AlhenaError,
    ClientClosedError,
    Endpoint,
    Observer,
    OutcomeStatus,
    QueuePolicy,
    Reply,
    RetryPolicy,
    Stats,
)
from alhena_async.testing import MemoryTransport, virtual
from tests.scripted import (
    HANG,
    NEVER_SENT,
    OK,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
    status,
)

NOW = QueuePolicy(linger=0.0)


def test_construction_binds_nothing() -> None:
    """No loop, no socket: a server may construct it and fork its workers afterwards."""
    client = AlhenaClient("shop")
    assert client.stats() == Stats()
    assert "new" in repr(client)


def test_bad_arguments_are_refused_at_construction() -> None:
    """The message names what is wrong, and nothing warns of an unclosed client."""
    with pytest.raises(ValueError, match="company_key"):
        AlhenaClient(" ")
    with pytest.raises(ValueError, match="region"):
        AlhenaClient("shop", region="moon")  # type: ignore[arg-type]
    for wrong in (5, MemoryTransport, object()):
        with pytest.raises(TypeError, match="transport must have open, send, close"):
            AlhenaClient("shop", transport=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="linger"):
        AlhenaClient("shop", queue=QueuePolicy(linger=900.0))
    with pytest.raises(ValueError, match="loopback"):
        AlhenaClient("shop", base_url="http://example.test/")
    with pytest.raises(ValueError, match="sometimes"):
        AlhenaClient("shop", coalescing="sometimes")  # type: ignore[arg-type]
    gc.collect()


class _Sent(list[bytes]):
    """A transport that is a list of what it sent."""

    async def open(self) -> None:
        pass

    async def send(self, _endpoint: Endpoint, body: bytes) -> Reply:
        self.append(body)
        return OK

    async def close(self) -> None:
        pass


@virtual
async def test_a_transport_may_be_empty() -> None:
    """One that is false in a condition is not taken for none: a test would send to Alhena."""
    transport = _Sent()
    async with AlhenaClient("shop", transport=transport) as client:
        await client.record(cart())
    assert len(transport) == 1


@virtual
async def test_before_start_every_call_says_how_to_start() -> None:
    """`RuntimeError` with the two ways to do it."""
    client = client_over(Script())
    with pytest.raises(RuntimeError, match="is not started"):
        client.track_nowait(cart())
    with pytest.raises(RuntimeError, match="is not started"):
        client.track_threadsafe(cart())
    for call in (client.track(cart()), client.record(cart()), client.flush()):
        with pytest.raises(RuntimeError, match="is not started"):
            await call
    assert client.stats().accepted == 0


@pytest.mark.parametrize(
    ("enabled", "said"), [(True, "events go to https://app.alhena.ai/"), (False, "none is sent")]
)
@virtual
async def test_a_start_says_where_events_go(
    enabled: bool, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, at INFO: the first thing to look for when no event arrives."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    async with client_over(Script(), enabled=enabled) as client:
        await client.start()
    assert [said in record.message for record in caplog.records] == [True]


@virtual
async def test_a_start_warns_of_a_variable_that_is_not_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody meant an emulator: web servers show WARNING, and not where events go."""
    monkeypatch.setenv("ALHENA_BASE_URL", "http://127.0.0.1:8787/secret/")
    async with client_over(Script()):
        pass
    [said] = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert said.startswith(
        "alhena: ALHENA_BASE_URL is set, and events go to https://app.alhena.ai/"
    )
    assert "secret" not in said


@virtual
async def test_start_is_idempotent_while_running() -> None:
    """Twice, side by side or one after the other: one transport, opened once."""
    transport = Script()
    client = client_over(transport)
    await asyncio.gather(client.start(), client.start())
    await client.start()
    async with client:
        assert transport.opened == 1
    assert transport.closed == 1


@virtual
async def test_a_closed_client_stays_closed() -> None:
    """Every call raises `ClientClosedError`, start included; close is idempotent."""
    transport = Script()
    client = client_over(transport)
    async with client:
        pass
    for call in (client.start, client.flush, client.run):
        with pytest.raises(ClientClosedError):
            await call()
    with pytest.raises(ClientClosedError):
        client.track_nowait(cart())
    with pytest.raises(ClientClosedError):
        client.track_threadsafe(cart())
    for late in (client.track(cart()), client.record(cart())):
        with pytest.raises(ClientClosedError):
            await late
    assert (await client.close()).undelivered == ()
    assert transport.closed == 1


@virtual
async def test_close_before_start_closes() -> None:
    """An application that fails while it starts may close what it never started."""
    transport = Script()
    client = client_over(transport)
    report = await client.close()
    assert report.undelivered == ()
    assert report.stats == Stats()
    with pytest.raises(ClientClosedError):
        await client.start()
    assert transport.opened == 0


@virtual
async def test_close_during_start_leaves_nothing_open() -> None:
    """A transport that was opening meanwhile is closed, and start says why it failed."""

    class Slow(Script):
        async def open(self) -> None:
            await asyncio.sleep(1.0)
            await super().open()

    transport = Slow()
    client = client_over(transport)
    starting = asyncio.create_task(client.start())
    await asyncio.sleep(0.5)
    await client.close()
    with pytest.raises(ClientClosedError):
        await starting
    assert transport.closed == transport.opened == 1


@virtual
async def test_close_delivers_what_waits_and_reports() -> None:
    """The linger is over at once, and the report has the final counts."""
    async with client_over(Script(latency=0.1), queue=QueuePolicy(linger=50.0)) as client:
        receipts = [client.track_nowait(cart(f"v{number}")) for number in range(50)]
        report = await client.close()
        assert asyncio.get_running_loop().time() < 1.0
        assert all(receipt.done() for receipt in receipts)
    assert report.undelivered == ()
    assert report.stats.recorded == 50
    assert await client.close() == report


@virtual
async def test_close_lists_exactly_what_was_not_delivered() -> None:
    """One deadline; leftovers settle as `ABANDONED`, lane by lane in order."""
    transport = Script(otherwise=lambda sent: HANG if sent.fingerprint == "b" else OK)
    async with client_over(transport, queue=NOW, coalescing="off") as client:
        for who in "ab":
            for number in (1, 2, 3):
                client.track_nowait(cart(who, quantity=number))
        report = await client.close(timeout=2.5)
        assert asyncio.get_running_loop().time() == pytest.approx(2.5)
    assert list(report.undelivered) == [cart("b", quantity=number) for number in (1, 2, 3)]
    assert report.stats.abandoned == 3
    assert report.stats.recorded == 3
    balance(client)


@virtual
async def test_an_abandoned_event_that_was_on_the_wire_is_ambiguous() -> None:
    """The one that waited behind it is not."""
    async with client_over(Script(HANG), queue=NOW) as client:
        flying, waiting = client.track_nowait(cart()), client.track_nowait(checkout())
        await asyncio.sleep(0.1)
        await client.close(timeout=0)
        assert (await flying).status is (await waiting).status is OutcomeStatus.ABANDONED
        assert (await flying).ambiguous
        assert not (await waiting).ambiguous


@virtual
async def test_two_closes_at_once_get_the_same_report() -> None:
    """The shorter timeout wins, whichever came first."""
    for first, second in ((10.0, 1.0), (1.0, 10.0)):
        began = asyncio.get_running_loop().time()
        async with client_over(Script(HANG)) as client:
            client.track_nowait(cart())
            reports = await asyncio.gather(client.close(first), client.close(second))
            assert reports[0] == reports[1]
            assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)


@virtual
async def test_a_transport_that_closes_badly_takes_no_report_with_it() -> None:
    """It is logged; a close that hangs is given a second."""

    class Bad(Script):
        async def close(self) -> None:
            await asyncio.sleep(3600)

    async with client_over(Bad()) as client:
        await client.record(cart())
        report = await client.close()
        assert report.stats.recorded == 1
        assert asyncio.get_running_loop().time() == pytest.approx(1.0)


@virtual
async def test_a_transport_that_swallows_cancellations_does_not_hold_up_close() -> None:
    """Once called off, its worker sends nothing more."""

    class Deaf(Script):
        async def send(self, endpoint: Any, body: bytes) -> Reply:
            try:
                return await super().send(endpoint, body)
            except asyncio.CancelledError:
                return Reply(500)

    transport = Deaf(otherwise=HANG)
    async with client_over(transport, queue=NOW) as client:
        for number in range(100):
            client.track_nowait(cart(f"v{number}"))
        report = await client.close(timeout=1.0)
        assert report.stats.abandoned == 100
    assert len(transport.sent) == 32


@virtual
async def test_run_in_a_task_group_returns_when_the_client_is_closed() -> None:
    """It starts, delivers, and ends without an error."""
    transport = Script()
    client = client_over(transport, queue=NOW)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(client.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (await client.record(cart())).ok
        await client.close()
    assert running.result() is None
    assert transport.closed == 1


@virtual
async def test_a_close_tries_once_more_what_would_rest_beyond_it() -> None:
    """After an outage the API is back before a long backoff is over: a deploy loses nothing."""
    for _ in range(20):  # the jitter is random
        transport = MemoryTransport()
        transport.fail(sent=False, times=None)
        async with AlhenaClient("shop", transport=transport, queue=NOW) as client:
            receipt = client.track_nowait(checkout())
            await asyncio.sleep(120.0)
            transport.recover()
            await client.close(timeout=5.0)
            assert (await receipt).ok


@virtual
async def test_a_close_tries_once_more_and_not_again_and_again() -> None:
    """An API that is still gone gets one more request of a visitor, and then the usual pauses."""
    transport = Script(otherwise=NEVER_SENT)
    async with client_over(transport, queue=NOW, retry=RetryPolicy(base=30.0)) as client:
        for number in range(10):
            client.track_nowait(cart(f"v{number}"))
        await asyncio.sleep(0.001)
        sent = len(transport.sent)
        await client.close(timeout=1.0)
    assert sent < len(transport.sent) <= sent + 20


@virtual
async def test_a_close_does_not_break_into_a_pause_that_the_api_asked_for() -> None:
    """`Retry-After` holds for whoever leaves, too."""
    transport = Script(status(429, retry_after=60))
    async with client_over(transport, queue=NOW) as client:
        client.track_nowait(checkout())
        await asyncio.sleep(1.0)
        report = await client.close(timeout=5.0)
    assert (len(report.undelivered), len(transport.sent)) == (1, 1)


@virtual
async def test_a_close_does_not_hurry_a_precondition() -> None:
    """The earlier event is another process's to send: asking sooner does not bring it."""
    transport = Script(code("PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"))
    patient = RetryPolicy(precondition_delay=9.0)
    async with client_over(transport, queue=NOW, retry=patient) as client:
        client.track_nowait(cart())
        await asyncio.sleep(1.0)
        report = await client.close(timeout=5.0)
    assert (len(report.undelivered), len(transport.sent)) == (1, 1)


class Refusals(Observer):
    def __init__(self) -> None:
        self.heard: list[AlhenaError] = []

    def not_accepted(self, error: AlhenaError) -> None:
        self.heard.append(error)


def test_a_stopped_loop_fails_another_threads_future_at_once() -> None:
    """It hung for ever; whoever runs the loop again goes on as before."""
    watch = Refusals()
    client = client_over(Script(), observers=[watch])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.start())
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(client.track_threadsafe, cart()).result()
        with pytest.raises(ClientClosedError, match="event loop has stopped"):
            future.result(timeout=0)
        assert [*watch.heard] == [future.exception()]
        assert (client.stats().not_accepted, client.stats().accepted) == (1, 0)

        async def go_on() -> None:
            track = functools.partial(client.track_threadsafe, cart())
            accepted = await loop.run_in_executor(thread, track)
            assert (await asyncio.wrap_future(accepted)).status is OutcomeStatus.RECORDED
            await client.close()

        loop.run_until_complete(go_on())
    loop.close()


def test_off_any_loop_the_error_names_the_right_call() -> None:
    """Before the start the client for plain code, after it the call for another thread."""
    client = client_over(Script())
    with pytest.raises(RuntimeError, match="SyncAlhenaClient"):
        client.track_nowait(cart())
    with pytest.raises(RuntimeError, match="SyncAlhenaClient"):
        client.track_threadsafe(cart())

    async def main() -> None:
        async with client:
            with pytest.raises(RuntimeError, match="from another thread use track_threadsafe"):
                await asyncio.to_thread(client.track_nowait, cart())

    asyncio.run(main())
