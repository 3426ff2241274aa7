"""All unsettled events of one kind by age: who lingered long enough, and who expires next.

Linger and delivery timeout are constant within a kind, so the order of acceptance is the order
of every due time: a list linked through the envelopes and one cursor do the work of a heap,
without an entry per event.
"""

from __future__ import annotations

from math import inf

from alhena_async._envelope import Envelope, Epoch

__all__ = ["Ages"]


class Ages:
    """Envelopes of one kind, oldest first."""

    __slots__ = ("_cursor", "_linger", "_newest", "oldest", "timeout")

    def __init__(self, *, timeout: float, linger: float) -> None:
        self.timeout = timeout
        self._linger = linger
        self.oldest: Envelope | None = None
        self._newest: Envelope | None = None
        self._cursor: Envelope | None = None
        """The first whose linger is not known to be over; all older ones are due or gone."""

    @property
    def lingering(self) -> Envelope | None:
        """The envelope whose linger ends next."""
        return self._cursor

    def append(self, envelope: Envelope, *, lingers: bool) -> bool:
        """Add the youngest; return whether `next_due` may be sooner for it."""
        last = self._newest
        self._newest = envelope
        if last is None:
            self.oldest = envelope
        else:
            last.newer = envelope
            envelope.older = last
        if lingers and self._cursor is None:
            self._cursor = envelope
            return True
        return last is None

    def remove(self, envelope: Envelope) -> None:
        """Unlink one, wherever it stands; one that is not in the list is left alone."""
        older, newer = envelope.older, envelope.newer
        if older is None and newer is None and self.oldest is not envelope:
            return
        if self._cursor is envelope:
            self._cursor = newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        envelope.older = envelope.newer = None

    def next_lingered(self, now: float, epoch: Epoch) -> Envelope | None:
        """Return the next whose linger is over, or that a flush hurries; None if there is none.

        Args:
            now: The loop's time.
            epoch: The present one; envelopes of earlier ones linger no longer.
        """
        envelope = self._cursor
        if envelope is None:
            return None
        if envelope.epoch is epoch and envelope.accepted_at + self._linger > now:
            return None
        self._cursor = envelope.newer
        return envelope

    def next_expired(self, now: float) -> Envelope | None:
        """Return the oldest, unlinked, if its delivery timeout is over; else None."""
        envelope = self.oldest
        if envelope is None or envelope.accepted_at + self.timeout > now:
            return None
        self.remove(envelope)
        return envelope

    def next_due(self, epoch: Epoch) -> float:
        """Return when there is something to do next; infinity if never."""
        due = inf if self.oldest is None else self.oldest.accepted_at + self.timeout
        waiting = self._cursor
        if waiting is None:
            return due
        if waiting.epoch is not epoch:
            return -inf
        return min(due, waiting.accepted_at + self._linger)
