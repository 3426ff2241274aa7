"""An outage that is many times longer than memory; the long one is `make outage`."""

from alhena_async import RetryPolicy
from tests.simulation.outage import live_through


def test_an_outage_longer_than_memory_loses_and_reorders_nothing() -> None:
    """Half an hour, with room for four seconds of it; late carts are dead letters, no order is."""
    retry = RetryPolicy(cart_delivery_timeout=300.0)
    figures = live_through(seconds=1_800, rate=5.0, capacity=20, retry=retry)
    assert (figures.lost, figures.refused, figures.reordered, figures.repeated) == (0, 0, 0, 0)
    assert figures.recorded + figures.expired == figures.events > 9_000
    assert figures.letters == figures.expired > 5_000
    assert figures.late_orders == 0
    assert figures.most_in_memory <= 20
    assert figures.most_on_disk > 1_000
