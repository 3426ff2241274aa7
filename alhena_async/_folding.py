"""Folding: one waiting envelope comes to speak for another. `_coalescing` says which may."""

from __future__ import annotations

from alhena_async._coalescing import Cancelled, fold
from alhena_async._envelope import Envelope, EnvelopeState, Folds
from alhena_async._lane import Lane
from alhena_async.policies import Coalescing

__all__ = ["fold_into_later", "join_earlier"]


def fold_into_later(
    mode: Coalescing, earlier: Envelope, later: Envelope, lane: Lane
) -> Cancelled | None:
    """Fold one of two neighbours into the other, if the mode says so.

    Args:
        mode: Which neighbours fold.
        earlier: Waits in the lane; leaves it if it folds.
        later: About to enter the lane, in either case.
        lane: Theirs.

    Returns:
        `Cancelled.OUT` if neither is to be sent; then nothing was changed.
    """
    # One that is being flushed stays itself: else a steady stream would put the flush off.
    if earlier.epoch is not later.epoch or (earlier.facts and earlier.facts.pinned):
        return None
    folded = fold(mode, earlier.event, later.event)  # type: ignore[arg-type]  # cart events
    if folded is None:
        return None
    if folded is Cancelled.OUT:
        return None if later.facts and later.facts.pinned else folded
    was_due = earlier.state is EnvelopeState.DUE
    lane.remove(earlier)
    earlier.state = EnvelopeState.FOLDED
    _speak_for(later, earlier)
    later.event = folded
    if was_due:
        later.state = EnvelopeState.DUE
    return None


def join_earlier(earlier: Envelope, later: Envelope) -> None:
    """Fold a repeated checkout into the one that waits already."""
    later.state = EnvelopeState.FOLDED
    _speak_for(earlier, later)


def _speak_for(survivor: Envelope, folded: Envelope) -> None:
    """Let one envelope speak for another, with all that either of them (the older) spoke for."""
    folds = survivor.folds or folded.folds or Folds(survivor)
    folds.survivor = survivor
    folds.members.append(folded)
    survivor.more().folds = folded.more().folds = folds
