"""Health: ready and alive, with a reason in words, asked from anywhere."""

import asyncio
import threading
from pathlib import Path

import pytest

from alhena_async import BreakerPolicy, BreakerState, Health, Overflow, QueuePolicy, RetryPolicy
from alhena_async._delivery.health import Signs, judge
from alhena_async._delivery.lifecycle import ClientState
from alhena_async.sync import SyncAlhenaClient
from alhena_async.testing import virtual
from tests.scripted import HANG, OK, Script, cart, client_over, status

WELL = {
    "state": ClientState.RUNNING,
    "is_here": True,
    "loop_runs": True,
    "journal_lives": True,
    "has_room": True,
    "breaker": BreakerState.CLOSED,
    "destination": "https://api.test/",
}


@pytest.mark.parametrize(
    ("sign", "ready", "alive", "reason"),
    [
        ({}, True, True, ""),
        ({"state": ClientState.NEW}, False, False, "the client is not started"),
        ({"state": ClientState.DRAINING}, False, True, "the client is being closed"),
        ({"state": ClientState.STOPPING}, False, True, "the client is being closed"),
        ({"state": ClientState.CLOSED}, False, False, "the client is closed"),
        ({"state": ClientState.FAILED}, False, False, "dispatcher failed"),
        ({"is_here": False}, False, False, "in another process"),
        ({"loop_runs": False}, False, False, "event loop does not run"),
        ({"journal_lives": False}, False, False, "the journal's thread has ended"),
        ({"has_room": False}, False, True, "no room"),
        ({"breaker": BreakerState.OPEN}, False, True, "https://api.test/ does not answer"),
        ({"breaker": BreakerState.HALF_OPEN}, False, True, "https://api.test/ does not answer"),
        ({"breaker": BreakerState.OPEN, "loop_runs": False}, False, False, "event loop"),
    ],
)
def test_each_sign_has_its_words(
    sign: dict[str, object], ready: bool, alive: bool, reason: str
) -> None:
    """The gravest is the reason; where nothing is wrong there is none."""
    health = judge(Signs(**{**WELL, **sign}))  # type: ignore[arg-type]
    assert (health.ready, health.alive) == (ready, alive)
    assert reason in health.reason
    assert bool(health.reason) is not ready


@virtual
async def test_a_client_is_ready_from_its_start_to_its_end() -> None:
    """Asked before, during and after."""
    client = client_over(Script())
    assert client.health() == Health(ready=False, alive=False, reason="the client is not started")
    async with client:
        assert client.health() == Health(ready=True, alive=True)
    assert client.health().reason == "the client is closed"


@virtual
async def test_an_open_breaker_is_not_ready_until_the_api_answers() -> None:
    """It lives all the while."""
    retry = RetryPolicy(breaker=BreakerPolicy(min_calls=1))
    async with client_over(Script(status(500), OK), retry=retry) as client:
        receipt = client.track_nowait(cart())
        while client.stats().failed_attempts == 0:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(0.1)
        assert not client.health().ready
        assert client.health().alive
        await receipt
        assert client.health().ready


@virtual
async def test_a_full_queue_is_not_ready() -> None:
    """Whatever the policy does with what comes."""
    queue = QueuePolicy(capacity=10, overflow=Overflow.DROP, checkout_reserve=0.0)
    async with client_over(Script(HANG), queue=queue) as client:
        for number in range(10):
            client.track_nowait(cart(f"v{number}"))
        assert client.health().reason == "there is no room for another event"
        await client.close(timeout=0)


async def test_a_journal_has_room_for_what_memory_has_not(tmp_path: Path) -> None:
    """Its disk takes the rest."""
    queue = QueuePolicy(capacity=10, checkout_reserve=0.0)
    journal = tmp_path / "journal"
    async with client_over(Script(otherwise=HANG), queue=queue, journal=journal) as client:
        for number in range(12):
            client.track_nowait(cart(f"v{number}"))
        assert client.stats().spilled
        assert client.health().ready
        await client.close(timeout=0)


async def test_it_may_be_asked_from_any_thread() -> None:
    """A health check is mostly served elsewhere."""
    told: list[Health] = []
    async with client_over(Script()) as client:
        thread = threading.Thread(target=lambda: told.append(client.health()))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert told == [Health(ready=True, alive=True)]


def test_a_loop_that_stands_still_is_not_alive() -> None:
    """Nothing is delivered there."""
    loop = asyncio.new_event_loop()
    client = client_over(Script())
    loop.run_until_complete(client.start())
    assert client.health().reason == "the client's event loop does not run"
    loop.run_until_complete(client.close())
    loop.close()


def test_the_client_without_a_loop_is_ready_before_its_first_event() -> None:
    """Otherwise nobody would send it one; then it tells of its thread's client."""
    client = SyncAlhenaClient("shop", transport=Script())
    assert client.health() == Health(ready=True, alive=True)
    client.record(cart())
    assert client.health() == Health(ready=True, alive=True)
    client.close()
    assert client.health() == Health(ready=False, alive=False, reason="the client is closed")


def test_the_client_without_a_loop_tells_of_a_start_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a minute, or until one succeeds: nobody sends work to what is not ready."""
    place = tmp_path / "file"
    place.write_text("no directory")
    client = SyncAlhenaClient("shop", transport=Script(), journal=place)
    with client.reporting():
        client.track(cart())
    health = client.health()
    assert (health.ready, health.alive) == (False, True)
    assert "could not start" in health.reason
    assert str(place) in health.reason
    with monkeypatch.context() as patched:
        patched.setattr("alhena_async.sync._FAILURE_COUNTS", 0.0)
        assert client.health().ready
    place.unlink()
    client.record(cart())
    assert client.health() == Health(ready=True, alive=True)
    client.close()
