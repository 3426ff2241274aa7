"""A lane: first in, first out, one taken at a time."""

import pytest

from alhena_async import Event
from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async._queue.lane import Lane
from tests.scripted import cart, checkout, waiting_envelope


def lane_of(*events: Event) -> tuple[Lane, list[Envelope]]:
    lane = Lane(("v", "faq-v", "shop"))
    envelopes = [waiting_envelope(event, 0.0) for event in events]
    for envelope in envelopes:
        lane.append(envelope)
    return lane, envelopes


def test_first_in_first_out() -> None:
    """Heads come in the order of their arrival."""
    lane, envelopes = lane_of(cart(), checkout(), cart())
    taken = []
    while lane.head is not None:
        taken.append(lane.take_head())
        lane.taken = None
    assert taken == envelopes
    assert lane.tail is None


def test_only_one_is_taken_at_a_time() -> None:
    """The second is refused until the first is released."""
    lane, (first, second) = lane_of(cart(), cart())
    assert lane.take_head() is first
    assert first.state is EnvelopeState.IN_FLIGHT
    with pytest.raises(RuntimeError):
        lane.take_head()
    lane.taken = None
    assert lane.take_head() is second
    lane.taken = None
    with pytest.raises(RuntimeError):
        lane.take_head()


@pytest.mark.parametrize("place", range(4))
def test_any_place_may_be_left(place: int) -> None:
    """The rest keeps its order, and the counts follow."""
    lane, envelopes = lane_of(cart(product="a"), checkout(), cart(product="b"), checkout())
    for envelope in envelopes:
        lane.make_due(envelope)
    gone = envelopes.pop(place)
    lane.remove(gone)
    assert list(lane) == envelopes
    assert lane.due == 3
    assert lane.waiting_checkouts == sum(not envelope.is_cart for envelope in envelopes)
    assert (lane.head, lane.tail) == (envelopes[0], envelopes[-1])


def test_due_is_counted_once() -> None:
    """Two timers for one event make it due once."""
    lane, [envelope] = lane_of(cart())
    lane.make_due(envelope)
    lane.make_due(envelope)
    assert lane.due == 1


@pytest.mark.parametrize("length", [1, 4, 5, 50])
def test_a_neighbour_is_the_last_of_its_product_with_no_checkout_behind_it(length: int) -> None:
    """In a short lane and in a long one, which keeps an index."""
    lane, envelopes = lane_of(*[cart(product=f"p{number}") for number in range(length)])
    assert lane.neighbour("p0") is envelopes[0]
    assert lane.neighbour("other") is None
    later = waiting_envelope(cart(product="p0"), 0.0)
    lane.append(later)
    assert lane.neighbour("p0") is later
    order = waiting_envelope(checkout(), 0.0)
    lane.append(order)
    assert lane.neighbour("p0") is None
    last = waiting_envelope(cart(product="p0"), 0.0)
    lane.append(last)
    assert lane.neighbour("p0") is last
    lane.remove(last)
    assert lane.neighbour("p0") is None


def test_an_order_is_found_by_its_id_as_long_as_one_of_that_id_waits() -> None:
    """Of two the later: it waits the longest, and those who come find it when the first is gone."""
    lane, (_first, other, again) = lane_of(
        checkout(order_id="o"), checkout(order_id="p"), checkout(order_id="o")
    )
    assert lane.waiting_order("o") is again
    assert lane.waiting_order("p") is other
    assert lane.waiting_order("q") is None
    lane.take_head()
    assert lane.waiting_order("o") is again
    lane.remove(again)
    assert lane.waiting_order("o") is None
