"""What an exporter of metrics counts, whatever format it speaks."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from alhena_async.observers import Instrument, JournalLevels, Snapshot, Stats
from alhena_async.outcomes import ErrorCode, Outcome, OutcomeStatus

__all__ = ["OTHER", "Tally", "bounded_code", "sum_of"]

OTHER: Final = "other"
"""What stands for all that could be anything, as a label must be one of few."""

_NOTHING: Final = Snapshot(stats=Stats(), capacity=0)


class Tally(Instrument):
    """Counts outcomes by code, and sums up the levels of the clients that it was given to.

    Of a client that has ended its counts stay, as counters only grow.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._seen: dict[Callable[[], Snapshot | None], Snapshot] = {}
        """What was last seen of each client that has not ended."""
        self._past = Stats()
        """The counts of those that have."""
        self.outcomes: Counter[tuple[OutcomeStatus, str | None]] = Counter()
        """How many events ended in which way, and with which code."""

    def started(self, look: Callable[[], Snapshot | None]) -> None:
        """See `Instrument`."""
        if self._pid != os.getpid():
            self._begin_anew()
        with self._lock:
            self._seen[look] = _NOTHING

    def _begin_anew(self) -> None:
        """Forget, in a fork, what the parent counted: it exports that itself."""
        Tally.__init__(self)

    def closed(self, look: Callable[[], Snapshot | None]) -> None:
        """See `Instrument`."""
        with self._lock:
            self._look(look)
            self._let_go(look)

    def has(self, look: Callable[[], Snapshot | None]) -> bool:
        """Return whether a client has not ended, as far as is known."""
        return look in self._seen

    def outcome(self, outcome: Outcome) -> None:
        """See `Observer`."""
        code = outcome.code
        self.outcomes[outcome.status, code if code is None else bounded_code(code)] += 1

    def ended_on_disk(self, counts: Mapping[OutcomeStatus, int]) -> None:
        """See `Instrument`."""
        for status, count in counts.items():
            self.outcomes[status, None] += count

    def snapshot(self) -> Snapshot:
        """Return the levels of all clients together. From any thread."""
        with self._lock:
            for look in list(self._seen):
                self._look(look)
            return sum_of([*self._seen.values(), Snapshot(stats=self._past, capacity=0)])

    def _look(self, look: Callable[[], Snapshot | None]) -> None:
        now = look()
        if now is not None:
            self._seen[look] = now
        else:  # it was never closed
            self._let_go(look)

    def _let_go(self, look: Callable[[], Snapshot | None]) -> None:
        """Keep a client's counts, and nothing else of it."""
        last = self._seen.pop(look, _NOTHING).stats
        counts = {name: getattr(last, name) for name in _COUNTS}
        self._past += Stats(**counts)


_LEVELS: Final = {"queued", "in_flight", "spilled"}

_COUNTS: Final = [
    field.name
    for field in attrs.fields(Stats)
    if type(field.default) is int and field.name not in _LEVELS
]


def sum_of(several: Sequence[Snapshot]) -> Snapshot:
    """Return the levels of several together; dead letters are those of a directory they share."""
    journals = [one.journal for one in several if one.journal is not None]
    return Snapshot(
        stats=sum((one.stats for one in several), Stats()),
        capacity=sum(one.capacity for one in several),
        journal=_sum_of(journals) if journals else None,
    )


def _sum_of(journals: Sequence[JournalLevels]) -> JournalLevels:
    return JournalLevels(
        rows=sum(one.rows for one in journals),
        bytes=sum(one.bytes for one in journals),
        max_bytes=sum(one.max_bytes for one in journals),
        dead_letters=max(one.dead_letters for one in journals),
        is_writing=all(one.is_writing for one in journals),
        is_alive=all(one.is_alive for one in journals),
    )


def bounded_code(code: str) -> str:
    """Return a code that is one of few: what the API does not document is `other`."""
    return code if code in ErrorCode.__members__ else OTHER
