"""Counts over time in a bounded number of buckets whose width grows with the time they cover."""

from __future__ import annotations

# Each divides the next, so that whole buckets merge.
_WIDTHS = (1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400)
_MAX_BUCKETS = 120


class Series:
    """Recorded and refused events over time.

    Seconds at first; once the span needs more than 120 buckets, neighbours merge into wider ones.
    """

    def __init__(self) -> None:
        self._width = 0
        self._buckets: dict[int, list[int]] = {}
        self._last = 0

    @property
    def width(self) -> int:
        """Seconds that one bucket covers."""
        return _WIDTHS[self._width]

    def add(self, now: float, *, refused: bool) -> None:
        """Count one event.

        Args:
            now: Seconds since the epoch; a clock that was set back counts as the latest time seen.
            refused: Which of the two counts grows.
        """
        self._last = max(self._last, int(now))
        while self._needed() > _MAX_BUCKETS:
            self._widen()
        start = self._last - self._last % self.width
        self._buckets.setdefault(start, [0, 0])[refused] += 1

    def points(self) -> list[tuple[int, int, int]]:
        """The filled buckets, oldest first: start in epoch seconds, recorded, refused."""
        return [(start, counts[0], counts[1]) for start, counts in self._buckets.items()]

    def _needed(self) -> int:
        first = next(iter(self._buckets), self._last)
        return (self._last - first) // self.width + 1

    def _widen(self) -> None:
        if self._width == len(_WIDTHS) - 1:
            del self._buckets[next(iter(self._buckets))]
            return
        self._width += 1
        narrow, self._buckets = self._buckets, {}
        for start, counts in narrow.items():
            wide = self._buckets.setdefault(start - start % self.width, [0, 0])
            wide[0] += counts[0]
            wide[1] += counts[1]
