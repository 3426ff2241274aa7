"""Room: how many events may be outstanding, and who waits for a slot, first come first served."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Admission"]


class Admission:
    """Counts slots, one for each outstanding event.

    A slot that is set free is reserved for the caller that has waited longest.
    """

    __slots__ = (
        "_replayer", "_reserved", "_waiters", "capacity", "outstanding", "reserved_for_replay",
    )  # fmt: skip

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.outstanding = 0
        self.reserved_for_replay = 0
        """Slots that are reserved for the replay alone, which takes them by `take`. Where there are
        fewer left than that, nobody else enters."""
        self._reserved = 0
        """Granted to callers that have not come back for it yet."""
        self._replayer: asyncio.Future[None] | None = None
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    @property
    def has_room(self) -> bool:
        """Whether an event may enter at once: a slot is free and nobody waits for one."""
        return self._has_free_slot and not self._reserved and not self._waiters

    def try_acquire(self) -> bool:
        """Take a slot, if an event may enter at once; return whether it could."""
        free = self.outstanding + self.reserved_for_replay < self.capacity
        if free and not self._reserved and not self._waiters:
            self.outstanding += 1
            return True
        return False

    @property
    def room_for_replay(self) -> int:
        """How many of the reserved slots are there to be taken."""
        return max(
            0, min(self.reserved_for_replay, self.capacity - self.outstanding - self._reserved)
        )

    @property
    def is_contended(self) -> bool:
        """Whether somebody waits for a slot, or was granted one and has yet to take it."""
        return bool(self._reserved or self._waiters)

    def take(self) -> None:
        """Take a slot; the caller has seen that there is one."""
        self.outstanding += 1

    async def acquire(self) -> None:
        """Wait for a slot and take it.

        Cancelled while it waits, nothing is taken; cancelled after the slot was granted, the
        slot goes to the next.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._reserved -= 1
                self.grant()
            self._waiters.pop(waiter, None)
            raise
        self._reserved -= 1
        self.outstanding += 1
        self.grant()  # whoever came behind a reservation had to wait, even if there was room left

    def release(self) -> None:
        """Give a slot back. `grant` passes it on."""
        self.outstanding -= 1

    def grant(self) -> None:
        """Reserve what is free for those who wait."""
        while self._waiters and self._has_free_slot:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                self._reserved += 1
                waiter.set_result(None)
        if self._replayer is not None and self.room_for_replay and not self._replayer.done():
            self._replayer.set_result(None)

    async def wait_to_replay(self) -> int:
        """Wait for reserved slots, and return how many there are; one caller a time."""
        while not self.room_for_replay:
            self._replayer = asyncio.get_running_loop().create_future()
            try:
                await self._replayer
            finally:
                self._replayer = None
        return self.room_for_replay

    @property
    def _has_free_slot(self) -> bool:
        return self.outstanding + self.reserved_for_replay + self._reserved < self.capacity

    def fail_waiters(self, make_error: Callable[[], Exception]) -> None:
        """Fail every caller that waits."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(make_error())
