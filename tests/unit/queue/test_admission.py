"""Room: counted exactly, first come first served, never leaked."""

import asyncio

import pytest

from alhena_async._queue.admission import Admission
from alhena_async.testing import virtual


def full(capacity: int = 1) -> Admission:
    admission = Admission(capacity)
    for _ in range(capacity):
        admission.take()
    return admission


def waiters(admission: Admission, count: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(admission.acquire()) for _ in range(count)]


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def release(admission: Admission) -> None:
    admission.release()
    admission.grant()


@virtual
async def test_first_come_first_served() -> None:
    """One place, one waiter, in the order of their calls."""
    admission = full()
    tasks = waiters(admission, 3)
    await settle()
    for served in range(3):
        release(admission)
        await settle()
        assert [task.done() for task in tasks] == [number <= served for number in range(3)]
        assert admission.outstanding == 1


@virtual
async def test_no_barging() -> None:
    """A granted place is the waiter's, though it has not come back for it yet."""
    admission = full()
    [task] = waiters(admission, 1)
    await settle()
    assert not admission.has_room
    release(admission)
    assert admission.outstanding == 0
    assert not admission.has_room
    await task
    assert not admission.has_room
    release(admission)
    assert admission.has_room


@virtual
async def test_nobody_barges_past_those_who_wait_even_with_places_free() -> None:
    """Several places at once: they go to those who wait first."""
    admission = full(3)
    tasks = waiters(admission, 2)
    await settle()
    for _ in range(3):
        admission.release()
    assert not admission.has_room
    admission.grant()
    await asyncio.gather(*tasks)
    assert admission.outstanding == 2
    assert admission.has_room


@virtual
async def test_cancelled_before_the_grant_nothing_is_taken() -> None:
    """The next in line is served."""
    admission = full()
    gone, stays = waiters(admission, 2)
    await settle()
    gone.cancel()
    await settle()
    release(admission)
    await stays
    assert gone.cancelled()
    assert admission.outstanding == 1


@virtual
async def test_cancelled_after_the_grant_the_place_goes_to_the_next() -> None:
    """Or is free again, when nobody waits."""
    admission = full()
    gone, stays = waiters(admission, 2)
    await settle()
    release(admission)
    gone.cancel()
    await stays
    assert gone.cancelled()
    release(admission)
    [last] = waiters(admission, 1)
    admission.take()
    await settle()
    release(admission)
    last.cancel()
    await settle()
    assert admission.outstanding == 0
    assert admission.has_room


@virtual
async def test_refuse_all_fails_every_waiter_with_an_error_of_its_own() -> None:
    """And leaves no reservation behind."""
    admission = full()
    tasks = waiters(admission, 3)
    await settle()
    admission.fail_waiters(lambda: ConnectionError("closed"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    assert len({id(result) for result in results}) == 3
    admission.release()
    assert admission.has_room


@virtual
async def test_refused_and_cancelled_at_once() -> None:
    """The cancellation is not swallowed, and nothing is leaked."""
    admission = full()
    [task] = waiters(admission, 1)
    await settle()
    admission.fail_waiters(lambda: ConnectionError("closed"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    admission.release()
    assert admission.has_room


@virtual
async def test_places_kept_back_are_for_the_replay_alone() -> None:
    """Nobody enters there, waiting or not; as they become fewer, who waits comes in."""
    admission = Admission(3)
    admission.reserved_for_replay = 2
    assert admission.try_acquire()
    assert not admission.try_acquire()
    assert not admission.has_room
    [task] = waiters(admission, 1)
    await asyncio.sleep(0)
    admission.grant()
    await asyncio.sleep(0)
    assert not task.done()
    assert admission.room_for_replay == 2
    admission.reserved_for_replay = 1
    admission.grant()
    await task
    assert admission.outstanding == 2


@virtual
async def test_the_replay_waits_for_places_that_are_kept_but_taken() -> None:
    """Live events were there first: it has what they leave, and nobody else has it."""
    admission = full(3)
    admission.reserved_for_replay = 2
    replaying = asyncio.create_task(admission.wait_to_replay())
    [waiting] = waiters(admission, 1)
    await asyncio.sleep(0)
    assert not replaying.done()
    release(admission)
    assert await replaying == 1
    release(admission)
    assert await admission.wait_to_replay() == 2
    assert not waiting.done()
    release(admission)
    await waiting


@virtual
async def test_a_reserved_place_is_not_the_replays() -> None:
    """It was granted to a caller who has not come for it yet."""
    admission = full(2)
    [task] = waiters(admission, 1)
    await asyncio.sleep(0)
    release(admission)
    admission.reserved_for_replay = 1
    assert admission.room_for_replay == 0
    await task
    release(admission)
    assert admission.room_for_replay == 1


@virtual
async def test_a_replay_that_is_called_off_leaves_nothing_behind() -> None:
    """And the next one waits as well."""
    admission = full()
    admission.reserved_for_replay = 1
    gone = asyncio.create_task(admission.wait_to_replay())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone})
    stays = asyncio.create_task(admission.wait_to_replay())
    await asyncio.sleep(0)
    release(admission)
    assert await stays == 1
