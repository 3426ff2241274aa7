"""`pause` and `resume`: everything is accepted, nothing is sent, and every end is told."""

from __future__ import annotations

import asyncio
import logging

import attrs
import pytest

from alhena_async import (
    AlhenaTimeoutError,
    ClientClosedError,
    HttpPolicy,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
)
from alhena_async.journal import SendMark
from alhena_async.testing import virtual
from tests.memory_journal import MemoryJournal
from tests.scripted import HANG, OK, Script, balance, cart, checkout, client_over, status

AT_ONCE = QueuePolicy(linger=0.0)


@virtual
async def test_a_paused_client_accepts_and_sends_nothing() -> None:
    """For as long as it takes; then all of it goes, in order."""
    transport = Script()
    async with client_over(transport, queue=AT_ONCE) as client:
        client.pause()
        for quantity in (1, 2, 3):
            client.track_nowait(cart(product=f"p{quantity}", quantity=quantity))
        client.track_nowait(checkout("w", order_id="o-1"))
        await asyncio.sleep(600.0)
        assert transport.sent == []
        assert client.stats().paused
        assert client.stats().queued == 4
        assert "paused" in repr(client)
        client.resume()
        await client.flush()
        assert transport.of("v") == [f"p{one}:ITEM_ADDED:{one}" for one in (1, 2, 3)]
        assert client.stats().recorded == 4
        assert not client.stats().paused
        balance(client)


@virtual
async def test_what_is_on_the_wire_ends_and_is_not_repeated_meanwhile() -> None:
    """A reply that settles counts; a failure waits like all others."""
    transport = Script(OK, status(500), latency=1.0)
    async with client_over(transport, queue=AT_ONCE) as client:
        good, bad = client.track_nowait(cart("a")), client.track_nowait(cart("b"))
        await asyncio.sleep(0.5)
        client.pause()
        await asyncio.sleep(100.0)
        assert good.done()
        assert not bad.done()
        assert len(transport.sent) == 2
        client.resume()
        assert (await bad).status is OutcomeStatus.RECORDED
        assert len(transport.sent) == 3


@virtual
async def test_events_that_are_paused_too_long_expire_on_time() -> None:
    """Late is wrong: the API has no timestamp."""
    retry = RetryPolicy(cart_delivery_timeout=60.0)
    async with client_over(Script(), queue=AT_ONCE, retry=retry) as client:
        client.pause()
        outcome = await client.track_nowait(cart())
        assert outcome.status is OutcomeStatus.EXPIRED
        assert outcome.elapsed == pytest.approx(60.0)


@virtual
async def test_flush_waits_for_resume_or_its_timeout() -> None:
    """And says why nothing moved."""
    async with client_over(Script(), queue=AT_ONCE) as client:
        client.pause()
        client.track_nowait(cart())
        with pytest.raises(AlhenaTimeoutError, match="stay queued; the client is paused"):
            await client.flush(5.0)
        flushing = asyncio.create_task(client.flush())
        await asyncio.sleep(5.0)
        assert not flushing.done()
        client.resume()
        await flushing


@pytest.mark.parametrize("timeout", [0.0, 10.0, None])
@virtual
async def test_close_delivers_nothing_of_a_paused_client(timeout: float | None) -> None:
    """It takes no time: whoever paused it wants nothing sent."""
    transport = Script()
    client = client_over(transport, queue=AT_ONCE)
    await client.start()
    client.pause()
    receipt = client.track_nowait(cart())
    began = asyncio.get_running_loop().time()
    report = await client.close(timeout)
    assert asyncio.get_running_loop().time() == began
    assert transport.sent == []
    assert (await receipt).status is OutcomeStatus.ABANDONED
    assert "paused" in str((await receipt).detail)
    assert len(report.undelivered) == report.stats.abandoned == 1


@virtual
async def test_close_of_a_paused_client_keeps_what_a_journal_has() -> None:
    """The next client sends it: a pause is no property of the journal."""
    journal = MemoryJournal()
    client = client_over(Script(), queue=AT_ONCE, journal=journal)
    await client.start()
    client.pause()
    receipt = await client.track(cart())
    await client.close()
    assert (await receipt).status is OutcomeStatus.KEPT
    assert len(journal.rows) == 1


@virtual
async def test_close_waits_for_what_is_on_the_wire() -> None:
    """Within its timeout, and begins nothing after it."""
    transport = Script(latency=3.0)
    client = client_over(transport, queue=AT_ONCE)
    await client.start()
    first, second = client.track_nowait(cart(product="a")), client.track_nowait(cart(product="b"))
    await asyncio.sleep(1.0)
    client.pause()
    began = asyncio.get_running_loop().time()
    await client.close()
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0)
    assert (await first).status is OutcomeStatus.RECORDED
    assert (await second).status is OutcomeStatus.ABANDONED
    assert len(transport.sent) == 1


@virtual
async def test_close_waits_no_longer_than_its_timeout() -> None:
    """A request that hangs is cut off, as at any end, and a second close brings that forward."""
    for patience, hurried in ((4.0, None), (9.0, 0.0)):
        client = client_over(Script(HANG), queue=AT_ONCE, http=HttpPolicy(request_timeout=60.0))
        await client.start()
        receipt = client.track_nowait(cart())
        await asyncio.sleep(1.0)
        client.pause()
        began = asyncio.get_running_loop().time()
        closing = asyncio.create_task(client.close(patience))
        await asyncio.sleep(0)
        if hurried is not None:
            await client.close(hurried)
        await closing
        expected = patience if hurried is None else hurried
        assert asyncio.get_running_loop().time() - began == pytest.approx(expected)
        outcome = await receipt
        assert (outcome.status, outcome.ambiguous) == (OutcomeStatus.ABANDONED, True)


@virtual
async def test_run_ends_at_once_where_it_is_paused() -> None:
    """SIGTERM of a worker that is paused: no drain is waited for."""
    client = client_over(Script(), queue=AT_ONCE)
    running = asyncio.create_task(client.run(drain_timeout=30.0))
    await asyncio.sleep(1.0)
    client.pause()
    client.track_nowait(cart())
    began = asyncio.get_running_loop().time()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.get_running_loop().time() == began


@virtual
async def test_no_mark_of_a_request_that_does_not_follow_stays() -> None:
    """Killed while it is paused, the next start sends what may not be repeated: none was sent."""
    journal = MemoryJournal()
    transport = Script(latency=1.0)
    queue = attrs.evolve(AT_ONCE, max_in_flight=4)
    retry = RetryPolicy(assign_order_ids=False)
    async with client_over(transport, queue=queue, retry=retry, journal=journal) as client:
        for number in range(20):
            client.track_nowait(checkout(f"v{number}", order_id=None))
        await asyncio.sleep(0.5)
        client.pause()
        await asyncio.sleep(10.0)
        assert len(transport.sent) == 4
        marked = [row for row in journal.rows.values() if row.guard is SendMark.SENT]
        assert marked == []
        client.resume()
        await client.flush()
        assert client.stats().recorded == 20


@virtual
async def test_it_may_be_paused_before_it_starts() -> None:
    """To look before anything goes out; what earlier processes left waits too."""
    transport = Script()
    client = client_over(transport, queue=AT_ONCE)
    client.pause()
    client.pause()
    async with client:
        client.track_nowait(cart())
        await asyncio.sleep(10.0)
        assert transport.sent == []
        client.resume()
        client.resume()
        await client.flush()
        assert len(transport.sent) == 1


@virtual
async def test_it_is_steered_from_its_own_loop_while_it_is_open() -> None:
    """Any other call says what is wrong."""
    client = client_over(Script())
    async with client:
        for steer in (client.pause, client.resume):
            with pytest.raises(RuntimeError, match="not called on the event loop"):
                await asyncio.to_thread(steer)
    for steer in (client.pause, client.resume):
        with pytest.raises(ClientClosedError):
            steer()


@virtual
async def test_the_log_says_when_how_long_and_what_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At WARNING, once each; and a queue that fills up meanwhile names the pause."""
    caplog.set_level(logging.WARNING, logger="alhena_async")
    queue = QueuePolicy(linger=0.0, capacity=1, checkout_reserve=0.0, overflow="drop")
    async with client_over(Script(), queue=queue) as client:
        client.pause()
        client.pause()
        client.track_nowait(cart("a"))
        client.track_nowait(cart("b"))
        await asyncio.sleep(30.0)
        client.resume()
        client.resume()
        await client.flush()
    lines = [record.getMessage() for record in caplog.records]
    [paused] = [line for line in lines if "alhena: paused" in line]
    assert f"none is sent to {client.base_url} until resume(); 0 events are waiting" in paused
    [dropped] = [line for line in lines if "dropped" in line and "waiting" in line]
    assert dropped.endswith("the client is paused: resume() sends them")
    [resumed] = [line for line in lines if "resumed" in line]
    assert "resumed after 30 s: 1 event is being delivered" in resumed


@virtual
async def test_the_log_of_a_paused_end_does_not_blame_the_api(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What to do is to resume."""
    client = client_over(Script(), queue=AT_ONCE)
    await client.start()
    client.pause()
    client.track_nowait(cart())
    await client.close()
    assert "and gone: it was paused; resume() before close() delivers them" in caplog.text
    assert "out of reach" not in caplog.text
