"""The table of the four modes: which of two neighbours folds, and into what."""

import attrs
import pytest

from alhena_async import CartEvent, Coalescing
from alhena_async._queue.coalescing import CANCELLED_OUT, fold
from alhena_async.events import CartEventType
from tests.scripted import cart

ADDED, MORE, LESS, REMOVED = (
    "ITEM_ADDED",
    "QUANTITY_INCREASED",
    "QUANTITY_DECREASED",
    "ITEM_REMOVED",
)
TYPES = (ADDED, MORE, LESS, REMOVED)
NET = {
    (ADDED, MORE): ADDED,
    (ADDED, LESS): ADDED,
    (ADDED, REMOVED): CANCELLED_OUT,
    (MORE, REMOVED): REMOVED,
    (LESS, REMOVED): REMOVED,
}


def event(kind: str, quantity: int = 2, currency: str = "EUR", source: str = "web") -> CartEvent:
    left = 0 if kind == REMOVED else quantity
    return cart(type=kind, quantity=left, currency=currency, source=source)


@pytest.mark.parametrize("earlier", TYPES)
@pytest.mark.parametrize("later", TYPES)
@pytest.mark.parametrize("mode", Coalescing)
def test_every_pair_of_types_in_every_mode(mode: Coalescing, earlier: str, later: str) -> None:
    """Different quantities, so that nothing is an equal repeat but a second removal."""
    first, second = event(earlier, 2), event(later, 3)
    folded = fold(mode, first, second)
    if mode is Coalescing.OFF:
        assert folded is None
    elif first == second:
        assert folded is second
    elif mode is Coalescing.DUPLICATES:
        assert folded is None
    elif earlier == later:
        assert folded is second
    elif mode is Coalescing.LATEST:
        assert folded is None
    else:
        wanted = NET.get((earlier, later))
        if isinstance(wanted, str):
            assert folded == attrs.evolve(second, type=CartEventType(wanted))
        else:
            assert folded is wanted


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("mode", Coalescing)
def test_equal_repeats_fold_in_every_mode_but_off(mode: Coalescing, kind: str) -> None:
    """A double click, a removal that fired twice."""
    folded = fold(mode, event(kind), event(kind))
    assert folded == (None if mode is Coalescing.OFF else event(kind))


@pytest.mark.parametrize("mode", Coalescing)
@pytest.mark.parametrize("other", [{"currency": "USD"}, {"source": "app"}])
def test_currency_and_source_part_neighbours(mode: Coalescing, other: dict[str, str]) -> None:
    """In every mode, in every direction."""
    for earlier in TYPES:
        for later in TYPES:
            assert fold(mode, event(earlier), event(later, **other)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [Coalescing.LATEST, Coalescing.NET])
def test_a_new_price_or_name_is_no_reason_to_send_both(mode: Coalescing) -> None:
    """The later one stands for both, as it is."""
    dearer = attrs.evolve(event(MORE), value=12.0, product_name="Big mug")
    assert fold(mode, event(MORE), dearer) is dearer
    assert fold(Coalescing.DUPLICATES, event(MORE), dearer) is None
