"""The emulator in its own thread: for plain tests, coroutines and outages alike."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from alhena_async import AlhenaClient, OutcomeStatus, QueuePolicy, RetryPolicy
from alhena_async.emulator import Emulator, Fault, FaultKind
from alhena_async.testing import EmulatorThread
from tests.patience import PATIENCE
from tests.scripted import cart, checkout, visitor

QUICK = {
    "queue": QueuePolicy(linger=0.0),
    "retry": RetryPolicy(base=0.01, throttle_base=0.01, cap=0.02),
}


def client_of(emulator: EmulatorThread) -> AlhenaClient:
    return AlhenaClient("shop", base_url=emulator.url, **QUICK)  # type: ignore[arg-type]


def test_a_plain_test_may_use_it() -> None:
    """The client runs where it likes; what it was answered is recorded."""
    with EmulatorThread() as emulator:

        async def shop() -> None:
            async with client_of(emulator) as client:
                await client.record(checkout(order_id="ORD-1"))

        asyncio.run(shop())
        emulator.assert_recorded(order_id="ORD-1")
        assert repr(emulator) == f"<EmulatorThread {emulator.url}>"


async def test_a_coroutine_may_use_it() -> None:
    """Its own loop serves, so that the test's is free for the client."""
    with EmulatorThread() as emulator:
        async with client_of(emulator) as client:
            for number in range(20):
                await client.record(checkout(order_id=f"{number}"))
                assert emulator.requests == number + 1
        emulator.assert_recorded(times=20)


async def test_an_outage_keeps_the_port_and_what_was_recorded() -> None:
    """The client delivers when it is over."""
    with EmulatorThread() as emulator:
        async with client_of(emulator) as client:
            await client.record(checkout(order_id="before"))
            url = emulator.url
            emulator.stop()
            receipt = client.track_nowait(checkout(order_id="during"))
            emulator.assert_recorded()  # as readable as ever
            emulator.start()
            assert emulator.url == url
            assert (await receipt).status is OutcomeStatus.RECORDED
            with pytest.raises(TimeoutError, match=r"within 0\.01 s; requests: 2, recorded: 2"):
                await emulator.wait_until(lambda _: False, timeout=0.01)
        emulator.assert_recorded(times=2)


async def test_faults_by_text_and_by_script_end_on_demand() -> None:
    """Scripted ones come first; `recover` ends both."""
    with EmulatorThread() as emulator:
        async with client_of(emulator) as client:
            emulator.fault("error=1:502", seed=1)
            emulator.script(Fault(FaultKind.STATUS, status=429))
            receipt = client.track_nowait(checkout())
            await emulator.wait_until(lambda one: one.requests > 2, timeout=PATIENCE)
            emulator.recover()
            assert (await receipt).ok
        assert emulator.faulted[FaultKind.STATUS] >= 3
        emulator.reset()
        assert (emulator.requests, emulator.recorded(), emulator.faulted) == (0, [], {})


async def test_a_condition_may_ask_the_emulator_itself() -> None:
    """It is looked at on the emulator's thread, which then does not wait for itself."""
    with EmulatorThread() as emulator:
        async with client_of(emulator) as client:
            client.track_nowait(cart())
            await emulator.wait_until(
                lambda _: emulator.requests > 0 and emulator.recorded() != [], timeout=PATIENCE
            )


async def test_a_reset_ends_faults_too() -> None:
    """A fixture shared by tests begins anew."""
    with EmulatorThread() as emulator:
        emulator.fault("error=1")
        emulator.reset()
        async with client_of(emulator) as client:
            assert (await client.record(checkout())).attempts == 1


async def test_tickets_by_visitor() -> None:
    """Of any class that has both fingerprints, or a pair."""
    with EmulatorThread(tickets="opened") as emulator:
        async with client_of(emulator) as client:
            emulator.open_ticket(visitor("a"))
            emulator.open_ticket(("b", "faq-b"))
            emulator.close_ticket(visitor("b"))
            assert (await client.track_nowait(cart("a"))).ok
            assert not (await client.track_nowait(cart("b"))).ok
        emulator.assert_recorded(visitor=visitor("a"))


def test_errors_come_back_to_the_caller() -> None:
    """Its own, and those of what it asked the emulator to do."""
    with EmulatorThread() as emulator:
        with pytest.raises(ValueError, match="no kind is called 'eror'"):
            emulator.fault("eror=1")
        with pytest.raises(ZeroDivisionError):
            emulator.call(lambda _: 1 / 0)
        assert emulator.call(lambda one: one.max_in_flight) == 0
        with pytest.raises(RuntimeError, match="already"):
            emulator.start()


def test_a_taken_port_is_said_where_it_is_started() -> None:
    """And no thread stays behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        emulator = EmulatorThread(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            emulator.start()
    assert "alhena-emulator" not in {thread.name for thread in threading.enumerate()}
    emulator.stop()  # idempotent, also when it never served


async def test_the_thread_ends_with_the_block() -> None:
    """Hanging requests do not hold it up, and nothing waits for it afterwards."""
    with EmulatorThread() as emulator:
        emulator.script(Fault(FaultKind.HANG))
        async with client_of(emulator) as client:
            client.track_nowait(cart())
            await emulator.wait_until(lambda one: one.in_flight == 1, timeout=PATIENCE)
            emulator.stop()
            await client.close(timeout=0)
    assert "alhena-emulator" not in {thread.name for thread in threading.enumerate()}
    assert repr(emulator) == "<EmulatorThread idle>"
    with pytest.raises(RuntimeError, match="does not serve"):
        await emulator.wait_until(lambda _: True)


async def test_what_it_tells_is_what_an_emulator_tells() -> None:
    """The same properties under the same names."""
    names = ["requests", "revenue", "carts", "refusals", "faulted", "recorded_count"]
    async with Emulator() as one:
        with EmulatorThread() as other:
            assert [getattr(one, name) for name in names] == [
                getattr(other, name) for name in names
            ]
