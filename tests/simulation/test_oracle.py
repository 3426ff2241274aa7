"""The oracle notices what goes wrong on the wire: it names the promise that was broken."""

from __future__ import annotations

from typing import Any

import pytest

from alhena_async.outcomes import OutcomeStatus
from tests.simulation.book import End
from tests.simulation.play import LOST, RECORDED, Play, broken


def test_a_right_trace_passes() -> None:
    """An attempt that is lost, a retry, a success, and the next of the lane: nothing to say."""
    play = Play()
    first, second = play.cart(), play.cart(kind="QUANTITY_INCREASED")
    play.attempt(first, LOST)
    play.time_now = 1.0
    play.attempt(first)
    play.settle(first, OutcomeStatus.RECORDED)
    play.attempt(second)
    play.settle(second, OutcomeStatus.RECORDED)
    play.end()


def test_a_later_event_first() -> None:
    """Within a visitor, order is kept."""
    play = Play()
    first, second = play.cart(), play.cart(kind="QUANTITY_INCREASED")
    play.attempt(second)
    play.settle(second, OutcomeStatus.RECORDED)
    play.end()
    play.time_now = 1.0
    play.attempt(first)
    broken(play, "reordered")


def test_a_lane_that_goes_on_during_a_backoff() -> None:
    """A lane stays taken until its head is settled."""
    play = Play()
    first, second = play.cart(), play.cart(kind="QUANTITY_INCREASED")
    play.attempt(first, LOST)
    play.begin(second)
    broken(play, "its lane went on without it")


def test_two_in_flight_for_a_visitor() -> None:
    """One request per lane."""
    play = Play()
    first, second = play.cart(), play.cart(kind="QUANTITY_INCREASED")
    play.begin(first)
    play.begin(second)
    broken(play, "two in flight for one visitor")


def test_too_many_on_the_wire() -> None:
    """`max_in_flight` bounds the requests of all lanes."""
    play = Play(max_in_flight=1)
    play.begin(play.cart("a"))
    play.begin(play.cart("b"))
    broken(play, "2 requests on the wire")


def test_an_attempt_past_the_deadline() -> None:
    """No request begins past its event's deadline."""
    play = Play(cart_timeout=5.0)
    late = play.cart()
    play.time_now = 5.0
    play.begin(late)
    broken(play, "past its deadline")


def test_an_attempt_during_a_pause() -> None:
    """`Retry-After` holds for the whole client."""
    play = Play()
    first, second = play.cart("a"), play.cart("b")
    play.attempt(first, End("transient", status=429, pause=10.0, throttled=True))
    play.time_now = 9.0
    play.begin(second)
    broken(play, "asked for peace")


def test_an_attempt_through_an_open_breaker() -> None:
    """While a breaker is open, nothing goes to its endpoint."""
    play = Play(min_calls=1, open_for=5.0)
    first, second = play.cart("a"), play.cart("b")
    play.attempt(first, LOST)
    play.oracle.callers.carts.changed("open")
    play.time_now = 4.0
    play.begin(second)
    broken(play, "breaker is open")


def test_a_breaker_that_does_not_open() -> None:
    """Enough failures in a row open it."""
    play = Play(min_calls=2)
    for visitor in "abc":
        play.attempt(play.cart(visitor), LOST)
    broken(play, "stays as it was")


def test_a_breaker_that_opens_too_early() -> None:
    """A success between them makes up for the failures before it."""
    play = Play(min_calls=2)
    for visitor, end in (("a", LOST), ("b", RECORDED), ("c", LOST)):
        play.attempt(play.cart(visitor), end)
    play.oracle.callers.carts.changed("open")
    broken(play, "told to be open, and is None")


def test_two_probes() -> None:
    """A half-open breaker lets one through."""
    play = Play(min_calls=1, open_for=5.0)
    first, second, third = play.cart("a"), play.cart("b"), play.cart("c")
    play.attempt(first, LOST)
    play.oracle.callers.carts.changed("open")
    play.time_now = 6.0
    play.begin(second)
    play.oracle.callers.carts.changed("half_open")
    play.begin(third)
    broken(play, "a second probe")


def test_a_storm_after_an_outage() -> None:
    """After the probe two may go, not all that wait."""
    play = Play(min_calls=1)
    play.attempt(play.cart("a"), LOST)
    play.time_now = 6.0
    play.attempt(play.cart("b"))
    for visitor in "cde":
        play.begin(play.cart(visitor))
    broken(play, "more than 2 at once")


def test_too_many_at_once_after_a_pause() -> None:
    """A wish for peace leaves 0.7 times as many to go at once."""
    play = Play(max_in_flight=10)
    play.attempt(play.cart(), End("transient", status=503, pause=1.0, throttled=True))
    play.time_now = 2.0
    for number in range(8):
        play.begin(play.cart(f"visitor-{number}"))
    broken(play, "more than 7 at once")


@pytest.mark.parametrize(
    ("end", "rules", "promise"),
    [
        (End("code", code="COMPANY_NOT_FOUND", status=404), {}, "terminal reply"),
        (LOST, {"retry_ambiguous_carts": False}, "may not be"),
        (LOST, {"max_attempts": 1}, "max_attempts"),
        (End("code", code="PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND", status=400), {}, "too early"),
    ],
)
def test_an_attempt_too_many(end: End, rules: dict[str, Any], promise: str) -> None:
    """What may not be tried again is not."""
    play = Play(**rules)
    entry = play.cart()
    play.attempt(entry, end)
    play.begin(entry)
    broken(play, promise)


def test_a_backoff_below_the_api_s_wish() -> None:
    """`Retry-After` is a floor that jitter never lowers."""
    play = Play()
    entry = play.cart()
    play.attempt(entry, End("transient", status=429, pause=10.0, throttled=True))
    play.oracle.wire.retry(entry.event, 9.0)
    broken(play, "a backoff of 9.0 s")


def test_a_backoff_past_the_deadline() -> None:
    """Nobody sleeps past a deadline."""
    play = Play(cart_timeout=5.0)
    entry = play.cart()
    play.attempt(entry, LOST)
    play.oracle.wire.retry(entry.event, 5.1)
    broken(play, "past its deadline")


def test_an_order_id_that_changes() -> None:
    """An assigned order id is the same at every attempt."""
    play = Play()
    order = play.checkout()
    play.attempt(order, LOST)
    play.begin(order, order_id="auto-2", orderId="auto-2")
    broken(play, "fixed for all attempts")


def test_a_second_recording_without_a_fault() -> None:
    """A duplicate at the API needs an ambiguous fault before it."""
    play = Play()
    entry = play.cart()
    play.begin(entry)
    play.oracle.wire.recorded(entry)
    play.oracle.wire.recorded(entry)
    broken(play, "recorded twice")
