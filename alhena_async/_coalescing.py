"""Which of two neighbours folds into the other. The table of the four modes, as one function.

Neighbours are two waiting cart events of one lane with the same product, no checkout and no
other event of that product between them. `docs/coalescing.md` shows the table with its effects.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from alhena_async.events import CartEvent, CartEventType
from alhena_async.policies import Coalescing

__all__ = ["Cancelled", "fold"]


class Cancelled(enum.Enum):
    """The two undo each other: neither is sent."""

    OUT = "out"


_ADDED = CartEventType.ITEM_ADDED
_REMOVED = CartEventType.ITEM_REMOVED
_CHANGES: Final = frozenset({CartEventType.QUANTITY_INCREASED, CartEventType.QUANTITY_DECREASED})


def fold(mode: Coalescing, earlier: CartEvent, later: CartEvent) -> CartEvent | Cancelled | None:
    """Return the event that stands for both, `Cancelled.OUT`, or None if both must be sent.

    The event that stands for both takes the later one's place.
    """
    if mode is Coalescing.OFF:
        return None
    if earlier == later:
        return later
    if mode is Coalescing.DUPLICATES or not _alike(earlier, later):
        return None
    if earlier.type is later.type:
        return later
    if mode is Coalescing.NET:
        return _net(earlier, later)
    return None


def _alike(earlier: CartEvent, later: CartEvent) -> bool:
    return earlier.currency == later.currency and earlier.source == later.source


def _net(earlier: CartEvent, later: CartEvent) -> CartEvent | Cancelled | None:
    if earlier.type is _ADDED:
        if later.type is _REMOVED:
            return Cancelled.OUT
        return attrs.evolve(later, type=_ADDED)  # added, then changed: added with what it became
    if earlier.type in _CHANGES and later.type is _REMOVED:
        return later
    return None
