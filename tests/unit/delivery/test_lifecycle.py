"""Use in the wrong place: another loop, another thread, another process; and no close at all."""

import asyncio
import gc
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    ClientClosedError,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
)
from alhena_async._delivery.lifecycle import MOVES, ClientState, Lifecycle
from alhena_async.testing import VirtualLoop
from tests.scripted import HANG, Script, balance, cart, checkout, client_over

NOW = QueuePolicy(linger=0.0)


def test_use_on_another_loop_is_refused() -> None:
    """One client, one loop: both calls say so, and the first loop's client is unharmed."""
    client = client_over(Script())
    with asyncio.Runner(loop_factory=VirtualLoop) as first:
        first.run(client.start())
        with asyncio.Runner(loop_factory=VirtualLoop) as second:
            for call in (client.start, client.flush, client.close, lambda: client.track(cart())):
                with pytest.raises(RuntimeError, match="for another loop make another client"):
                    second.run(_call(call))
        assert first.run(client.record(cart())).ok
        first.run(client.close())


async def _call(call: Callable[[], Any]) -> Any:
    return await call()


async def test_use_from_another_thread_names_track_threadsafe() -> None:
    """A `def` request function gets told which call is for it."""
    async with client_over(Script(), queue=NOW) as client:
        with pytest.raises(RuntimeError, match="track_threadsafe"):
            await asyncio.to_thread(client.track_nowait, cart())
        future = await asyncio.to_thread(client.track_threadsafe, cart())
        outcome = await asyncio.to_thread(future.result, 5)
        assert outcome.status is OutcomeStatus.RECORDED


async def test_track_threadsafe_from_many_threads() -> None:
    """Each thread's events keep their order, and each future gets its own outcome."""
    transport = Script()
    async with client_over(transport, queue=NOW, coalescing="off") as client:

        def produce(who: str) -> None:
            futures = [client.track_threadsafe(cart(who, quantity=n)) for n in range(1, 41)]
            assert {future.result(10).status for future in futures} == {OutcomeStatus.RECORDED}

        await asyncio.gather(*(asyncio.to_thread(produce, f"t{n}") for n in range(4)))
        balance(client)
    for number in range(4):
        assert transport.of(f"t{number}") == [f"mug:ITEM_ADDED:{n}" for n in range(1, 41)]


async def test_track_threadsafe_tells_the_thread_what_went_wrong() -> None:
    """A full queue, and a client that closes before the loop has seen the event."""
    async with client_over(Script(HANG), queue=QueuePolicy(capacity=1)) as client:
        client.track_nowait(checkout())
        future = client.track_threadsafe(cart())
        late = client.track_threadsafe(checkout())
        with pytest.raises(QueueFullError):
            await asyncio.wrap_future(future)
        with pytest.raises(QueueFullError):
            await asyncio.wrap_future(late)
        too_late = client.track_threadsafe(cart())
        closing = asyncio.create_task(client.close(timeout=0))
        with pytest.raises((ClientClosedError, QueueFullError)):
            await asyncio.wrap_future(too_late)
        await closing


async def test_a_future_cancelled_before_the_loop_saw_it_withdraws_its_event() -> None:
    """After that it cancels nothing."""
    async with client_over(Script(), queue=NOW) as client:
        future = client.track_threadsafe(cart())
        assert future.cancel()
        await asyncio.sleep(0.01)
        assert client.stats().accepted == 0


def test_an_unclosed_client_warns() -> None:
    """`ResourceWarning`, with the client's state; one that was never started does not."""

    def leave_open() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(client_over(Script()).start())
        gc.collect()

    with pytest.warns(ResourceWarning, match=r"AlhenaClient running.* was never closed"):
        leave_open()
    client_over(Script())
    gc.collect()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_use_after_a_fork_is_refused_and_a_client_of_its_own_works() -> None:
    """The child gets a clear error from the parent's client, and may start a new one."""
    parents = client_over(Script())
    unstarted = client_over(Script(), queue=NOW)
    with asyncio.Runner() as runner:
        runner.run(parents.start())
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _use_in_child(parents, unstarted)
                code = 0
            except BaseException:  # noqa: BLE001  the child must end here, whatever happens
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert runner.run(parents.record(cart())).ok
        runner.run(parents.close())


def _use_in_child(parents: AlhenaClient, unstarted: AlhenaClient) -> None:
    with pytest.raises(RuntimeError, match="another process"):
        parents.track_threadsafe(cart())
    for call in (parents.start, parents.close, lambda: parents.track(cart())):
        with pytest.raises(RuntimeError, match="another process"):
            asyncio.run(_call(call))

    async def own() -> None:
        async with unstarted:
            assert (await unstarted.record(cart())).ok

    asyncio.run(own())
    assert threading.active_count() >= 1


@pytest.mark.parametrize("before", ClientState)
@pytest.mark.parametrize("after", ClientState)
def test_a_client_makes_no_move_that_is_not_in_the_table(
    before: ClientState, after: ClientState
) -> None:
    """A bug in the order of the end is heard of where it happens."""
    lifecycle = Lifecycle()
    lifecycle.state = before
    if after in MOVES[before]:
        lifecycle.move(after)
        assert lifecycle.state is after
    else:
        with pytest.raises(RuntimeError, match=f"{before.value} cannot be {after.value} next"):
            lifecycle.move(after)
        assert lifecycle.state is before
