"""Cancellation at any await, and a dispatcher that fails: accounts hold and nothing hangs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    ClientClosedError,
    Outcome,
    OutcomeStatus,
    QueuePolicy,
    Receipt,
    RetryPolicy,
)
from alhena_async.testing import virtual
from tests.scripted import (
    HANG,
    RESET,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    status,
    task_of,
)

NOW = QueuePolicy(linger=0.0)


async def _receipt(client: AlhenaClient) -> Outcome:
    return await (await client.track(cart("caller")))


async def _record_all(client: AlhenaClient) -> None:
    async for _ in client.record_all([cart(f"caller{n}") for n in range(6)], window=3):
        pass


CALLS: dict[str, Callable[[AlhenaClient], Awaitable[Any]]] = {
    "track": lambda client: client.track(cart("caller")),
    "record": lambda client: client.record(checkout("caller", order_id="caller")),
    "flush": lambda client: client.flush(),
    "receipt": _receipt,
    "record_all": _record_all,
    "close": lambda client: client.close(timeout=1.0),
    "run": lambda client: client.run(drain_timeout=1.0),
}


@pytest.mark.parametrize("full", [False, True], ids=["room", "full"])
@pytest.mark.parametrize("call", CALLS)
@virtual
async def test_a_call_cancelled_after_any_number_of_steps(call: str, full: bool) -> None:
    """Whatever the caller waits for at that moment: accounts balance, all is delivered or told."""
    for steps in range(30):
        transport = Script(RESET, status(429), latency=0.001)
        policy = QueuePolicy(linger=0.0, capacity=4 if full else 100)
        async with client_over(transport, queue=policy, coalescing="off") as client:
            for number in range(4):
                client.track_nowait(cart(f"v{number}"))
            task = asyncio.ensure_future(CALLS[call](client))
            for _ in range(steps):
                await asyncio.sleep(0 if steps % 2 else 0.0004)
            task.cancel()
            await asyncio.wait({task})
            balance(client)
            assert task.cancelled() or task.exception() is None
            if call not in {"close", "run"}:
                assert (await client.record(checkout("after", order_id="after"))).ok
                await client.flush()
                assert client._queue.outstanding == 0
                assert client._queue.admission.has_room
        balance(client)
        assert client.stats().queued == client.stats().in_flight == 0
        assert transport.closed == 1


@virtual
async def test_a_cancelled_awaiter_of_a_receipt_harms_nobody() -> None:
    """The delivery goes on, and the other awaiters get the outcome."""
    async with client_over(Script(latency=1.0), queue=NOW) as client:
        receipt = client.track_nowait(cart())
        gone, stays = (asyncio.ensure_future(_await(receipt)) for _ in range(2))
        await asyncio.sleep(0.5)
        gone.cancel()
        assert (await stays).status is OutcomeStatus.RECORDED
        assert gone.cancelled()


async def _await(receipt: Receipt) -> Outcome:
    return await receipt


@virtual
async def test_close_cancelled_abandons_at_once_and_re_raises() -> None:
    """What is left settles, the transport is closed, and a second close has the report."""
    transport = Script(HANG)
    client = client_over(transport, queue=NOW)
    await client.start()
    receipt = client.track_nowait(cart())
    closing = asyncio.create_task(client.close(timeout=100.0))
    await asyncio.sleep(1.0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert asyncio.get_running_loop().time() == pytest.approx(1.0)
    assert receipt.done()
    assert transport.closed == 1
    report = await client.close()
    assert report.undelivered == (cart(),)


@virtual
async def test_run_cancelled_once_drains_and_re_raises() -> None:
    """What can be delivered within the drain's time is delivered."""
    transport = Script(latency=0.5)
    client = client_over(transport, queue=QueuePolicy(linger=60.0))
    running = asyncio.create_task(client.run(drain_timeout=5.0))
    await asyncio.sleep(0.1)
    receipt = client.track_nowait(cart())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await receipt).status is OutcomeStatus.RECORDED
    assert transport.closed == 1
    with pytest.raises(ClientClosedError):
        client.track_nowait(cart())


@virtual
async def test_run_cancelled_twice_abandons_at_once() -> None:
    """The second cancellation waits for nothing."""
    client = client_over(Script(HANG), queue=NOW)
    running = asyncio.create_task(client.run(drain_timeout=500.0))
    await asyncio.sleep(0.1)
    receipt = client.track_nowait(cart())
    running.cancel()
    await asyncio.sleep(1.0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.get_running_loop().time() == pytest.approx(1.1)
    assert (await receipt).status is OutcomeStatus.ABANDONED


@virtual
async def test_a_failing_task_group_drains_the_client() -> None:
    """A sibling's error cancels `run`, which delivers what waits; only the error is raised."""
    client = client_over(Script(latency=0.1), queue=QueuePolicy(linger=60.0))
    receipts = []

    async def fail() -> None:
        await asyncio.sleep(1.0)
        receipts.append(client.track_nowait(cart()))
        raise ZeroDivisionError

    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(client.run())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await serve()
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
    assert (await receipts[0]).status is OutcomeStatus.RECORDED


def _break_take(client: AlhenaClient) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    client._queue.scheduler.take = broken  # type: ignore[method-assign, assignment]


def _break_sweep(client: AlhenaClient) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    client._queue.sweep = broken  # type: ignore[method-assign, assignment]


def _break_back_off(client: AlhenaClient) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    client._queue.back_off = broken  # type: ignore[method-assign, assignment]


def _cancel_a_worker(client: AlhenaClient) -> None:
    task_of("alhena-worker-1").cancel()


BREAKS = [_break_take, _break_sweep, _break_back_off, _cancel_a_worker]


@pytest.mark.parametrize("break_it", BREAKS)
@virtual
async def test_when_the_dispatcher_fails_every_receipt_settles_with_the_cause(
    break_it: Callable[[AlhenaClient], None],
) -> None:
    """New work is refused loudly, those who wait for room too, and close still works."""
    transport = Script(HANG, status(503), latency=0.1)
    policy = QueuePolicy(linger=0.3, capacity=4)
    retry = RetryPolicy(throttle_base=0.1)
    async with client_over(transport, queue=policy, retry=retry) as client:
        receipts = [client.track_nowait(cart("a")), client.track_nowait(cart("b"))]
        await asyncio.sleep(0.35)
        receipts += [client.track_nowait(cart("a")), client.track_nowait(cart("c"))]
        waiting = asyncio.create_task(client.track(cart("d")))
        running = asyncio.create_task(client.run())
        await asyncio.sleep(0)
        break_it(client)
        outcomes = [await receipt for receipt in receipts]
        assert {outcome.status for outcome in outcomes} == {OutcomeStatus.ABANDONED}
        causes = {"a bug", "cancelled from outside"}
        assert any(cause in str(outcomes[0].detail) for cause in causes)
        for refused in (waiting, running, client.track(cart()), client.record(cart())):
            with pytest.raises(ClientClosedError, match="dispatcher failed") as caught:
                await refused
            assert isinstance(caught.value.__cause__, ZeroDivisionError | RuntimeError)
        with pytest.raises(ClientClosedError):
            client.track_nowait(cart())
        balance(client)
        report = await client.close()
        assert len(report.undelivered) == 4
    assert transport.closed == 1


@virtual
async def test_a_dispatcher_that_fails_under_run_leaves_nothing_open() -> None:
    """`run` started the client, so it also closes what it opened."""
    transport = Script(HANG)
    client = client_over(transport, queue=NOW)
    running = asyncio.create_task(client.run())
    await asyncio.sleep(0.1)
    client.track_nowait(cart())
    await asyncio.sleep(0.1)
    _cancel_a_worker(client)
    with pytest.raises(ClientClosedError) as caught:
        await running
    assert "from outside" in str(caught.value.__cause__)
    assert transport.closed == 1


@virtual
async def test_a_shutdown_that_is_cancelled_from_outside_still_settles_everything() -> None:
    """As at the end of `asyncio.run`, which cancels every task there is."""
    client = client_over(Script(HANG), queue=NOW)
    await client.start()
    receipts = [client.track_nowait(cart(f"v{number}")) for number in range(50)]
    closing = asyncio.create_task(client.close(timeout=100.0))
    await asyncio.sleep(1.0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert all(receipt.done() for receipt in receipts)
    balance(client)
