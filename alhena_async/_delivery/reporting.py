"""Keeps what a client counts in its journal's directory, where `alhena status` and `tail` look."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from alhena_async._delivery.tasks import Tasks
from alhena_async._queue.journal_gateway import JournalGateway
from alhena_async._telemetry.telemetry import Telemetry
from alhena_async.events import CheckoutEvent
from alhena_async.observers import Observer, Stats
from alhena_async.outcomes import ErrorCode, Outcome, documented

__all__ = ["Reporter"]

_PAUSE: Final = 2.0
"""Seconds between two reports."""

_PAUSE_WATCHED: Final = 0.25
"""Seconds between two while somebody watches."""

_MOST_OUTCOMES: Final = 4_000
"""Outcomes that wait for a report at most; the oldest give way, which their numbers show."""

_MOST_CHARACTERS: Final = 300
"""Of the base URL, whose end nobody needs in order to recognise it."""


class Reporter:
    """Reports counts every few seconds and at the end, and outcomes only while somebody watches.

    No event passes by here unless somebody watches, and whatever fails here fails nothing else.

    Args:
        journal: Has the directory, and a thread that writes to it.
        telemetry: Tells of outcomes.
        counts: Returns what returns the client's counts; None once there is no client any more.
        destination: Where events go.
    """

    def __init__(
        self,
        journal: JournalGateway,
        telemetry: Telemetry,
        counts: Callable[[], Callable[[], Stats] | None],
        destination: str,
    ) -> None:
        self._journal = journal
        self._telemetry = telemetry
        self._stats = counts
        self._destination = destination[:_MOST_CHARACTERS]
        self._outcomes = _Outcomes()
        self._is_watched = False

    def start(self, tasks: Tasks) -> None:
        """Report from now on."""
        tasks.spawn_aside(self._run(), "alhena-counts", "counts are kept no more")

    async def end(self) -> None:
        """Report for the last time. Waits for the disk."""
        await self._report(is_last=True)

    async def _run(self) -> None:
        while True:
            await self._report()
            await asyncio.sleep(_PAUSE_WATCHED if self._is_watched else _PAUSE)

    async def _report(self, *, is_last: bool = False) -> None:
        stats = self._stats()
        if stats is not None:
            counts, outcomes = self._counts(stats()), self._outcomes.take()
            is_watched = await self._journal.report(counts, outcomes, is_last=is_last)
            self._watch(is_watched and not is_last)

    def _counts(self, stats: Stats) -> Mapping[str, Any]:
        unattributed = {ErrorCode.ACTIVE_TICKET_NOT_FOUND: stats.unattributed}
        return {
            "destination": self._destination,
            "stats": attrs.asdict(stats),
            "refused": {**self._telemetry.refused, **(unattributed if stats.unattributed else {})},
        }

    def _watch(self, is_watched: bool) -> None:  # noqa: FBT001  there is nothing else to say
        if is_watched and not self._is_watched:
            self._telemetry.watch(self._outcomes)
        elif self._is_watched and not is_watched:
            self._telemetry.unwatch()
        self._is_watched = is_watched


class _Outcomes(Observer):
    """Notes each outcome: nothing of its event but what kind it is of."""

    def __init__(self) -> None:
        self._number = 0
        self._told: deque[Mapping[str, Any]] = deque(maxlen=_MOST_OUTCOMES)

    def take(self) -> list[Mapping[str, Any]]:
        """Return what was told since the last time."""
        told = list(self._told)
        self._told.clear()
        return told

    def outcome(self, outcome: Outcome) -> None:
        """Note one."""
        self._number += 1
        told = {
            "number": self._number,
            "kind": "checkout" if isinstance(outcome.event, CheckoutEvent) else "cart",
            "status": outcome.status,
            "code": None if outcome.code is None else documented(outcome.code),
            "attempts": outcome.attempts,
            "seconds": round(outcome.elapsed, 6),
        }
        self._told.append(told)
