"""Room: counted exactly, fair over the lanes, some of it for checkouts alone, never leaked."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from alhena_async import Event, LineItem, QueuePolicy
from alhena_async._queue.admission import Admission, bytes_of
from alhena_async._queue.lane import Lane
from alhena_async.testing import virtual
from tests.scripted import cart, checkout, visitor


class Room(Admission):
    """An admission with lanes by name, which are never forgotten.

    Args:
        taken: How many events have room already, each in a lane of its own.
        **policy: As for `QueuePolicy`.
    """

    def __init__(self, capacity: int = 1, *, taken: int | None = None, **policy: Any) -> None:
        super().__init__(QueuePolicy(**{"capacity": capacity, "checkout_reserve": 0.0, **policy}))
        self.lanes: dict[str, Lane] = {}
        for number in range(capacity if taken is None else taken):
            self.enter(f"first-{number}")

    def lane(self, who: str) -> Lane:
        return self.lanes.setdefault(who, Lane((who, "", "shop")))

    def enter(self, who: str, event: Event | None = None) -> None:
        assert self.try_acquire(self.lane(who), event or cart(who))

    def refuses(self, who: str, event: Event | None = None) -> bool:
        return not self.try_acquire(self.lane(who), event or cart(who))

    def leave(self, who: str = "first-0", event: Event | None = None) -> None:
        self.release(self.lane(who), event or cart(who))
        self.grant()

    def wait(self, who: str, event: Event | None = None) -> asyncio.Task[bool]:
        return asyncio.create_task(self.acquire(self.lane(who), event or cart(who)))


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def call_off(tasks: Iterable[asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def order_of(room: Room, waiting: dict[str, asyncio.Task[bool]], leaving: int) -> list[str]:
    """Set one place free after the other, and return who came in."""
    await turn()
    came: list[str] = []
    for number in range(leaving):
        room.leave(f"first-{number}")
        await turn()
        came += [who for who, task in waiting.items() if task.done() and who not in came]
    return came


# --- one lane ------------------------------------------------------------------------------------


@virtual
async def test_first_come_first_served_within_a_lane() -> None:
    """One place, one waiter, in the order of their calls."""
    room = Room(3)
    waiting = {str(number): room.wait("v") for number in range(3)}
    assert await order_of(room, waiting, 3) == ["0", "1", "2"]
    assert room.outstanding == 3


@virtual
async def test_a_lane_takes_no_more_than_its_share() -> None:
    """What one visitor sends has no room beyond it, and everybody else has."""
    room = Room(10, taken=0, lane_capacity=3)
    for _ in range(3):
        room.enter("greedy")
    assert room.refuses("greedy")
    assert room.refuses("greedy", checkout("greedy"))
    assert room.is_full(room.lane("greedy"))
    room.enter("honest")
    room.leave("greedy")
    room.enter("greedy")


@virtual
async def test_what_is_in_flight_does_not_wait() -> None:
    """The bound is on those behind it."""
    room = Room(10, taken=0, lane_capacity=2)
    room.enter("v")
    room.lane("v").taken = object()  # type: ignore[assignment]  # an envelope; nobody looks at it
    for _ in range(2):
        room.enter("v")
    assert room.refuses("v")


@virtual
async def test_whoever_waits_for_a_full_lane_holds_nobody_else_up() -> None:
    """Neither those who wait nor those who do not."""
    room = Room(3, taken=0, lane_capacity=2)
    room.enter("greedy")
    room.enter("greedy")
    parked = [room.wait("greedy") for _ in range(50)]
    await turn()
    room.enter("honest")
    waiting = room.wait("other")
    await turn()
    room.leave("honest")
    await waiting
    room.leave("greedy")
    await turn()
    assert [task.done() for task in parked[:2]] == [True, False]
    await call_off(parked)


@virtual
async def test_a_full_lane_has_room_again_when_its_head_is_taken() -> None:
    """Whoever waits for it need not wait until that is settled."""
    room = Room(9, taken=0, lane_capacity=1)
    room.enter("v")
    waiting = room.wait("v")
    await turn()
    assert not waiting.done()
    room.lane("v").taken = object()  # type: ignore[assignment]  # an envelope; nobody looks at it
    room.look_anew(room.lane("v"))
    room.grant()
    await waiting


@virtual
async def test_no_barging() -> None:
    """Granted room is the waiter's, though it has not come back for it yet."""
    room = Room(1)
    task = room.wait("v")
    await turn()
    assert room.refuses("w")
    room.leave()
    assert room.outstanding == 0
    assert room.refuses("w")
    await task
    assert room.refuses("w")
    room.leave("v")
    room.enter("w")


@virtual
async def test_nobody_passes_a_caller_of_the_same_lane_that_has_not_come_back() -> None:
    """A visitor's events keep the order of the calls, whatever room there is."""
    room = Room(3)
    first = room.wait("v")
    await turn()
    for number in range(3):
        room.leave(f"first-{number}")
    assert not first.done()
    assert room.refuses("v")
    room.enter("w")
    second = room.wait("v")
    await asyncio.gather(first, second)
    assert room.outstanding == 3


# --- over the lanes ------------------------------------------------------------------------------


@virtual
async def test_lanes_take_turns() -> None:
    """A visitor with many callers is served as often as one with a single caller."""
    room = Room(6)
    waiting = {f"greedy-{number}": room.wait("greedy") for number in range(20)}
    waiting |= {who: room.wait(who) for who in ("a", "b")}
    came = await order_of(room, waiting, 6)
    assert came == ["greedy-0", "a", "b", "greedy-1", "greedy-2", "greedy-3"]
    await call_off(waiting.values())


@virtual
async def test_checkouts_come_first() -> None:
    """In the order of their calls, before every cart event that waits."""
    room = Room(5)
    waiting = {f"cart-{number}": room.wait(f"c{number}") for number in range(3)}
    waiting |= {f"order-{number}": room.wait(f"o{number}", checkout()) for number in range(2)}
    came = await order_of(room, waiting, 5)
    assert came == ["order-0", "order-1", "cart-0", "cart-1", "cart-2"]


@virtual
async def test_a_checkout_takes_its_own_lane_along() -> None:
    """The visitor's earlier events hurry with it, for it may not pass them."""
    room = Room(4)
    waiting = {
        "other": room.wait("w"),
        "add": room.wait("v"),
        "order": room.wait("v", checkout()),
        "later": room.wait("v"),
    }
    assert await order_of(room, waiting, 4) == ["add", "order", "other", "later"]


@virtual
async def test_who_comes_later_passes_only_as_a_checkout() -> None:
    """A cart event finds no room while one waits; a checkout only where a checkout waits."""
    room = Room(10, taken=8, checkout_reserve=0.2)
    waiting = room.wait("w")
    await turn()
    assert room.refuses("v")
    room.enter("v", checkout())
    room.enter("u", checkout())
    urgent = room.wait("t", checkout())
    await turn()
    room.release(room.lane("first-0"), cart())
    assert room.refuses("s", checkout())
    room.grant()
    await urgent
    assert not waiting.done()
    await call_off([waiting])


# --- the checkouts' share ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "share", "carts"), [(10, 0.2, 8), (10, 0.0, 10), (3, 0.3, 3), (100, 0.05, 95)]
)
@virtual
async def test_carts_leave_a_share_to_the_checkouts(
    capacity: int, share: float, carts: int
) -> None:
    """Rounded down; checkouts may take all there is."""
    room = Room(capacity, taken=0, checkout_reserve=share)
    for number in range(carts):
        room.enter(f"v{number}")
    assert room.refuses("late")
    for number in range(capacity - carts):
        room.enter(f"o{number}", checkout())
    assert room.refuses("late", checkout())


@virtual
async def test_orders_that_fill_more_than_their_share_still_leave_it_free() -> None:
    """It is what is kept free, not what checkouts are limited to."""
    room = Room(10, taken=0, checkout_reserve=0.2)
    for number in range(5):
        room.enter(f"o{number}", checkout())
    for number in range(3):
        room.enter(f"v{number}")
    assert room.refuses("late")
    room.enter("o9", checkout())


@virtual
async def test_a_cart_event_that_waits_gets_nothing_of_the_share() -> None:
    """It comes in when there is more than that."""
    room = Room(10, taken=8, checkout_reserve=0.2)
    waiting = room.wait("v")
    await turn()
    assert not waiting.done()
    room.leave()
    await waiting


# --- bytes ---------------------------------------------------------------------------------------


def long(characters: int, letter: str = "x") -> Event:
    """Return a cart event whose id and name have so many characters each."""
    return cart(product=letter * characters, source=letter * min(characters, 256))


@pytest.mark.parametrize(
    "event", [cart(), long(1_000, "木"), checkout()], ids=["cart", "long", "order"]
)
@virtual
async def test_room_is_bounded_in_bytes(event: Event) -> None:
    """By an estimate, and beyond it by no more than one event."""
    room = Room(1_000, taken=0, capacity_bytes=1_000_000)
    count = 0
    while room.try_acquire(room.lane(str(count)), event):
        count += 1
    assert min(1_000, 1_000_000 // (bytes_of(event) + 1_000)) <= count <= 1_000
    assert (count - 1) * bytes_of(event) <= 1_000_000
    for number in range(count):
        room.leave(str(number), event)
    assert room.taken == room.large == 0


@pytest.mark.parametrize("slot", [500, 2_000, 9_999, 10_000, 10_500])
@pytest.mark.parametrize("letter", ["x", "é", "木", "\N{PINEAPPLE}"])
@virtual
async def test_no_event_takes_less_room_than_its_bytes(letter: str, slot: int) -> None:
    """What is let in without a closer look is no larger than one slot."""
    room = Room(100, taken=0, capacity_bytes=100 * slot)
    for characters in (1, 112, 334, 889, 1_000, 2_000, 20_000):
        event = long(characters, letter)
        room.enter("v", event)
        assert (room.taken + room.large) * slot >= bytes_of(event)
        room.leave("v", event)
        assert (room.taken, room.large) == (0, 0)


@virtual
async def test_an_order_of_many_lines_takes_the_room_of_many_events() -> None:
    """Room for it is waited for as for any other, and given back as a whole."""
    line = LineItem(product_id="p", product_name="n" * 500, quantity=1, value=1, currency="EUR")
    big = checkout().__class__(
        visitor=visitor(), value=1, currency="EUR", line_items=[line] * 100, order_id="big"
    )
    room = Room(20, taken=0, capacity_bytes=200_000)
    room.enter("big", big)
    taken = room.slots_of(big)
    assert taken > 5
    for number in range(20 - taken):
        room.enter(f"v{number}")
    waiting = room.wait("late")
    await turn()
    assert not waiting.done()
    room.leave("big", big)
    await waiting
    for number in range(taken - 1):
        room.enter(f"w{number}")
    assert room.refuses("x")


@virtual
async def test_an_event_larger_than_all_room_finds_room_where_there_is_any() -> None:
    """It would wait for ever otherwise; beside it nothing has room."""
    room = Room(10, taken=0, capacity_bytes=5_000)
    room.enter("huge", long(1_000, "木"))
    assert room.refuses("v")
    room.leave("huge", long(1_000, "木"))
    room.enter("v")


# --- called off ----------------------------------------------------------------------------------


@virtual
async def test_cancelled_before_the_grant_nothing_is_taken() -> None:
    """The next in turn is served."""
    room = Room(1)
    gone, stays = room.wait("v"), room.wait("v")
    await turn()
    gone.cancel()
    await turn()
    room.leave()
    await stays
    assert gone.cancelled()
    assert room.outstanding == 1


@pytest.mark.parametrize("other", ["v", "w"])
@virtual
async def test_cancelled_after_the_grant_the_room_goes_to_the_next(other: str) -> None:
    """Of the same lane or another; or it is free again, when nobody waits."""
    room = Room(1)
    gone, stays = room.wait("v"), room.wait(other)
    await turn()
    room.leave()
    gone.cancel()
    await stays
    assert gone.cancelled()
    last = room.wait("x")
    await turn()
    room.leave(other)
    last.cancel()
    await turn()
    assert room.taken == room.outstanding == 0
    assert room.has_room
    assert all(lane.size == 0 and lane.callers is None for lane in room.lanes.values())


@virtual
async def test_a_checkout_that_is_called_off_takes_its_lane_back_to_the_carts() -> None:
    """Nothing hurries for its sake any more."""
    room = Room(2)
    waiting = {"other": room.wait("w"), "add": room.wait("v")}
    order = room.wait("v", checkout())
    await turn()
    order.cancel()
    await turn()
    assert await order_of(room, waiting, 2) == ["other", "add"]


@virtual
async def test_failing_the_waiters_fails_each_with_an_error_of_its_own() -> None:
    """Wherever they stand; and leaves nothing behind."""
    room = Room(2, taken=1, lane_capacity=1)
    room.enter("v")
    tasks = [room.wait("v"), room.wait("w"), room.wait("x", checkout()), room.wait("w")]
    await turn()
    room.fail_waiters(lambda: ConnectionError("closed"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 4
    assert len({id(result) for result in results}) == 4
    room.leave()
    assert room.has_room
    assert all(lane.callers is None for lane in room.lanes.values())


@virtual
async def test_failed_and_cancelled_at_once() -> None:
    """The cancellation is not swallowed, and nothing is leaked."""
    room = Room(1)
    task = room.wait("v")
    await turn()
    room.fail_waiters(lambda: ConnectionError("closed"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    room.leave()
    assert room.has_room


# --- the replay's share --------------------------------------------------------------------------


@virtual
async def test_slots_reserved_for_the_replay_are_for_it_alone() -> None:
    """Nobody enters there, waiting or not; as they become fewer, who waits comes in."""
    room = Room(3, taken=0)
    room.reserved_for_replay = 2
    room.enter("a")
    assert room.refuses("b")
    assert room.refuses("b", checkout())
    task = room.wait("b")
    await turn()
    assert not task.done()
    assert room.room_for_replay == 2
    room.reserved_for_replay = 1
    room.grant()
    await task
    assert room.outstanding == 2


@virtual
async def test_the_replay_waits_for_slots_that_are_reserved_but_taken() -> None:
    """Live events were there first: it has what they leave, and nobody else has it."""
    room = Room(3)
    room.reserved_for_replay = 2
    replaying = asyncio.create_task(room.wait_to_replay())
    waiting = room.wait("v")
    await turn()
    assert not replaying.done()
    room.leave("first-0")
    assert await replaying == 1
    room.leave("first-1")
    assert await room.wait_to_replay() == 2
    assert not waiting.done()
    room.leave("first-2")
    await waiting


@virtual
async def test_granted_room_is_not_the_replays() -> None:
    """It is a caller's who has not come for it yet."""
    room = Room(2)
    task = room.wait("v")
    await turn()
    room.leave("first-0")
    room.reserved_for_replay = 1
    assert room.room_for_replay == 0
    await task
    room.leave("v")
    assert room.room_for_replay == 1


@virtual
async def test_a_replay_that_is_called_off_leaves_nothing_behind() -> None:
    """And the next one waits as well."""
    room = Room(1)
    room.reserved_for_replay = 1
    gone = asyncio.create_task(room.wait_to_replay())
    await turn()
    gone.cancel()
    await asyncio.wait({gone})
    stays = asyncio.create_task(room.wait_to_replay())
    await turn()
    room.leave()
    assert await stays == 1
