"""Who is dropped to make room for a younger event: the oldest cart event, and what builds on it."""

from __future__ import annotations

from collections.abc import Iterator

from alhena_async._backlog import Backlogs, digest_of
from alhena_async._deadlines import Ages
from alhena_async._envelope import Envelope, EnvelopeState

__all__ = ["victims"]


def victims(carts: Ages, backlogs: Backlogs | None) -> list[Envelope]:
    """Return the oldest waiting cart event and the later ones of its product in its lane.

    Never a checkout, one that an attempt has touched, or one of an earlier process. Empty if there
    is nothing to shed.
    """
    envelope = carts.oldest
    while envelope is not None:
        folds = envelope.folds
        oldest = folds.survivor if folds else envelope
        if oldest.waits or oldest.state is EnvelopeState.HELD:
            return [oldest, *_of_its_product(oldest, backlogs)]
        envelope = envelope.newer
    return []


def _of_its_product(oldest: Envelope, backlogs: Backlogs | None) -> Iterator[Envelope]:
    product_id = oldest.event.product_id  # type: ignore[union-attr]  # a cart event
    for later in _behind(oldest, backlogs):
        if later.is_cart and later.event.product_id == product_id:  # type: ignore[union-attr]
            yield later


def _behind(envelope: Envelope, backlogs: Backlogs | None) -> Iterator[Envelope]:
    """Yield what waits behind an envelope of its own lane, held ones included."""
    lane = envelope.lane
    assert lane is not None  # noqa: S101  it waits, so it has one
    later = envelope.next
    while later is not None:
        if not later.is_replayed:
            yield later
        later = later.next
    if backlogs is not None and not backlogs.is_quiet:
        held = backlogs.held_in(digest_of(envelope))
        if envelope.state is EnvelopeState.HELD:
            held = held[held.index(envelope) + 1 :]
        yield from (one for one in held if one.lane is not None and one.lane.key == lane.key)
