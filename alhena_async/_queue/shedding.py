"""Which cart events may be dropped to make room for younger ones, and in which order.

Kept under `Overflow.SHED` alone. Whatever becomes of an event costs the same few steps here,
however many wait; nobody walks through them to find the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alhena_async._queue.envelope import Envelope
    from alhena_async._queue.lane import Lane

__all__ = ["ShedOrder"]


class ShedOrder:
    """The cart events that no attempt has touched, oldest first: of all lanes, and of each lane.

    Those of earlier processes are not among them, nor those that others speak for.
    """

    __slots__ = ("_all", "_lanes", "_products")

    def __init__(self) -> None:
        self._all: OrderedDict[Envelope, None] = OrderedDict()
        self._lanes: dict[Lane, OrderedDict[Envelope, None]] = {}
        self._products: dict[tuple[Lane, str], dict[Envelope, None]] = {}

    def add(self, envelope: Envelope) -> None:
        """Add the youngest; one that is there already keeps its place."""
        self._all.setdefault(envelope)
        self._lanes.setdefault(envelope.lane, OrderedDict()).setdefault(envelope)
        self._products.setdefault(_product(envelope), {}).setdefault(envelope)

    def discard(self, envelope: Envelope) -> None:
        """Take one out; one that is not there is left alone."""
        if envelope not in self._all:
            return
        del self._all[envelope]
        of_lane = self._lanes[envelope.lane]
        del of_lane[envelope]
        if not of_lane:
            del self._lanes[envelope.lane]
        product = _product(envelope)
        of_product = self._products[product]
        del of_product[envelope]
        if not of_product:
            del self._products[product]

    def first(self, lane: Lane | None = None) -> list[Envelope]:
        """Return the oldest, and the later ones of its product in its lane; empty if there is none.

        Args:
            lane: Of this lane alone; None for all.
        """
        line = self._all if lane is None else self._lanes.get(lane)
        if not line:
            return []
        return list(self._products[_product(next(iter(line)))])


def _product(envelope: Envelope) -> tuple[Lane, str]:
    return envelope.lane, envelope.cart.product_id
