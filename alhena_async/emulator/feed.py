"""Tells listeners that something changed; they look for themselves what.

There is no queue: a listener is one flag. However many events arrive and however slow a listener
is, a change costs a few flags set, and the listener's next look shows the latest state.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
