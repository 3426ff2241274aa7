"""Which of two neighbours folds into the other. The table of the four modes, as one function.

Neighbours are two waiting cart events of one lane with the same product, no checkout and no
other event of that product between them. `docs/coalescing.md` shows the table with its effects.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import attrs

from alhena_async._queue.envelope import Envelope, EnvelopeState, Folds
from alhena_async.events import CartEvent, CartEventType
from alhena_async.policies import Coalescing

if TYPE_CHECKING:
    from alhena_async._queue.lane import Lane

__all__ = ["CANCELLED_OUT", "fold", "fold_into_later", "join_earlier"]


class _CancelledOut(enum.Enum):
    CANCELLED_OUT = enum.auto()


CANCELLED_OUT: Final = _CancelledOut.CANCELLED_OUT
"""The two undo each other: neither is sent."""


_ADDED = CartEventType.ITEM_ADDED

_REMOVED = CartEventType.ITEM_REMOVED

_CHANGES: Final = frozenset({CartEventType.QUANTITY_INCREASED, CartEventType.QUANTITY_DECREASED})


def fold(
    mode: Coalescing, earlier: CartEvent, later: CartEvent
) -> CartEvent | _CancelledOut | None:
    """Return the event that stands for both, `CANCELLED_OUT`, or None if both must be sent.

    The event that stands for both takes the later one's place.
    """
    if mode is Coalescing.OFF:
        return None
    if mode is Coalescing.DUPLICATES:
        return later if earlier == later else None
    if not _alike(earlier, later):
        return None
    if earlier.type is later.type:
        return later
    if mode is Coalescing.NET:
        return _net(earlier, later)
    return None


def _alike(earlier: CartEvent, later: CartEvent) -> bool:
    return earlier.currency == later.currency and earlier.source == later.source


def _net(earlier: CartEvent, later: CartEvent) -> CartEvent | _CancelledOut | None:
    if earlier.type is _ADDED:
        if later.type is _REMOVED:
            return CANCELLED_OUT
        return attrs.evolve(later, type=_ADDED)  # added, then changed: added with what it became
    if earlier.type in _CHANGES and later.type is _REMOVED:
        return later
    return None


def fold_into_later(
    mode: Coalescing, earlier: Envelope, later: Envelope, lane: Lane
) -> _CancelledOut | None:
    """Fold one of two neighbours into the other, if the mode says so.

    Args:
        mode: Which neighbours fold.
        earlier: Waits in the lane; leaves it if it folds.
        later: About to enter the lane, in either case.
        lane: Theirs.

    Returns:
        `CANCELLED_OUT` if neither is to be sent; then nothing was changed.
    """
    # One that is being flushed stays itself: a steady stream would put the flush off otherwise.
    if earlier.generation is not later.generation or earlier.is_pinned:
        return None
    folded = fold(mode, earlier.cart, later.cart)
    if folded is None:
        return None
    if folded is CANCELLED_OUT:
        return None if later.is_pinned else folded
    was_due = earlier.state is EnvelopeState.DUE
    lane.unlink(earlier)
    earlier.state = EnvelopeState.FOLDED
    _absorb(later, earlier)
    later.event = folded
    if was_due and later.state is EnvelopeState.WAITING:
        later.state = EnvelopeState.DUE
    return None


def join_earlier(earlier: Envelope, later: Envelope) -> None:
    """Fold a repeated checkout into the one that waits already."""
    later.state = EnvelopeState.FOLDED
    _absorb(earlier, later)


def _absorb(survivor: Envelope, folded: Envelope) -> None:
    """Let one envelope stand for another, and for all that either of them stood for."""
    folds = survivor.folds or folded.folds or Folds(survivor)
    if folded.folds is not None and folded.folds is not folds:  # both spoke for others already
        folds.members += folded.folds.members
        for member in folded.folds.members:
            member.details().folds = folds
    folds.survivor = survivor
    folds.members.append(folded)
    survivor.details().folds = folded.details().folds = folds
