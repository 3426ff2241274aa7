"""How many requests are handled at once, in all and for each visitor."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator


class Gauge:
    """Counts of requests being handled now, and the highest they ever were.

    Args:
        on_change: Called after each change, synchronously; must be quick and not raise.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._by_visitor: Counter[Hashable] = Counter()
        self.now = 0
        self.highest = 0
        self.highest_of_a_visitor = 0

    @contextmanager
    def handling(self, visitor: Hashable | None) -> Iterator[None]:
        """Count one request while the block runs; None: one that names no visitor."""
        self.now += 1
        self.highest = max(self.highest, self.now)
        if visitor is not None:
            self._by_visitor[visitor] += 1
            self.highest_of_a_visitor = max(self.highest_of_a_visitor, self._by_visitor[visitor])
        self._on_change()
        try:
            yield
        finally:
            self.now -= 1
            self._leave(visitor)
            self._on_change()

    def clear(self) -> None:
        """Let the highest counts begin again from what is being handled now."""
        self.highest = self.now
        self.highest_of_a_visitor = max(self._by_visitor.values(), default=0)

    def _leave(self, visitor: Hashable | None) -> None:
        if visitor is None:
            return
        self._by_visitor[visitor] -= 1
        if not self._by_visitor[visitor]:
            # A visitor who is gone costs nothing.
            del self._by_visitor[visitor]


class Feed:
    """Wake-ups for a bounded number of listeners.

    Args:
        limit: How many may listen at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._listeners: set[asyncio.Event] = set()

    @property
    def full(self) -> bool:
        """Whether there is no room for another listener."""
        return len(self._listeners) >= self._limit

    def changed(self) -> None:
        """Wake all listeners. Never blocks."""
        for listener in self._listeners:
            listener.set()

    @contextmanager
    def listen(self) -> Iterator[asyncio.Event]:
        """Lend a flag that every change sets; the listener clears it before it looks."""
        flag = asyncio.Event()
        self._listeners.add(flag)
        try:
            yield flag
        finally:
            self._listeners.discard(flag)
