"""The oracle notices: fed with a wrong trace, it names the promise that was broken."""

from __future__ import annotations

from typing import Any

import pytest

from alhena_async import CartEvent, CheckoutEvent, LineItem, Stats, Visitor
from alhena_async.events import Event
from alhena_async.outcomes import Outcome, OutcomeStatus
from tests.simulation.book import End, Entry, Rules
from tests.simulation.oracle import Oracle, Violation

RECORDED = End("recorded", status=200)
LOST = End("transient", ambiguous=True)
LINES = (LineItem(product_id="p", product_name="Mug", quantity=1, value=5, currency="EUR"),)


class Play:
    """Plays a client's part by hand, a step at a time, on a clock that is set by hand."""

    def __init__(self, **rules: Any) -> None:
        self.time_now = 0.0
        self.oracle = Oracle(Rules(**rules), self)
        self.numbers = 0

    def time(self) -> float:
        return self.time_now

    def cart(self, visitor: str = "a", kind: str = "ITEM_ADDED", **more: Any) -> Entry:
        self.numbers += 1
        event = CartEvent(
            visitor=Visitor(fingerprint=visitor, faq_fingerprint="ticket"),
            type=kind,
            product_id=more.pop("product", "p"),
            product_name="Mug",
            value=float(self.numbers),
            currency="EUR",
            quantity=0 if kind == "ITEM_REMOVED" else 1,
        )
        return self._accept(event, **more)

    def checkout(self, visitor: str = "a", order_id: str | None = None) -> Entry:
        self.numbers += 1
        event = CheckoutEvent(
            visitor=Visitor(fingerprint=visitor, faq_fingerprint="ticket"),
            value=float(self.numbers),
            currency="EUR",
            line_items=LINES,
            order_id=order_id,
        )
        return self._accept(event)

    def _accept(self, event: Event, *, pinned: bool = False) -> Entry:
        entry = self.oracle.entry(event, "ours", pinned=pinned)
        self.oracle.accept(entry)
        return entry

    def begin(self, entry: Entry, **changes: Any) -> None:
        event = entry.event
        payload: dict[str, Any] = {
            "company_key": "ours",
            "user_fingerprint": event.visitor.fingerprint,
            "value": event.value,
        }
        if isinstance(event, CartEvent):
            payload |= {
                "type": event.type.value, "quantity": event.quantity, "product_id": event.product_id
            }  # fmt: skip
        elif event.order_id is not None:
            payload |= {"order_id": event.order_id, "orderId": event.order_id}
        else:
            payload |= {"order_id": "auto-1", "orderId": "auto-1"}
        self.oracle.begin(payload | changes, checkout=not entry.is_cart)

    def attempt(self, entry: Entry, end: End = RECORDED) -> None:
        self.begin(entry)
        if end.kind == "recorded":
            self.oracle.recorded(entry)
        self.oracle.end(entry, end)

    def settle(self, entry: Entry, status: OutcomeStatus, **facts: Any) -> None:
        facts = {
            "attempts": entry.attempts,
            "ambiguous": entry.ambiguous,
            "elapsed": self.time_now - entry.accepted_at,
        } | facts
        self.oracle.outcome(Outcome(status=status, event=entry.event, **facts))

    def end(self, **wrong: int) -> None:
        """Let the loop become idle, with a client whose counts are right, but for `wrong`."""
        oracle = self.oracle
        outstanding = len(oracle.open_carts) + len(oracle.open_checkouts)
        counts: dict[str, Any] = {
            "accepted": oracle.accepted,
            "in_flight": oracle.taken,
            "queued": outstanding - oracle.taken,
            "requests": oracle.attempts,
            "retries": oracle.retries,
            **{status.value: oracle.counts[status] for status in OutcomeStatus},
        }
        oldest = oracle.oldest()
        age = self.time_now - oldest.accepted_at if oldest else 0.0
        stats = Stats(**{**counts, "oldest_age": age, **wrong})
        oracle.client = type("Client", (), {"stats": lambda _: stats})()
        oracle.idle()


def broken(play: Play, promise: str) -> None:
    with pytest.raises(Violation, match=promise):
        play.end()


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
    """Enough failures open it."""
    play = Play(min_calls=2)
    for visitor in "abc":
        play.attempt(play.cart(visitor), LOST)
    broken(play, "stays closed")


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
    play.oracle.retry(entry.event, 9.0)
    broken(play, "a backoff of 9.0 s")


def test_a_backoff_past_the_deadline() -> None:
    """Nobody sleeps past a deadline."""
    play = Play(cart_timeout=5.0)
    entry = play.cart()
    play.attempt(entry, LOST)
    play.oracle.retry(entry.event, 5.1)
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
    play.oracle.recorded(entry)
    play.oracle.recorded(entry)
    broken(play, "recorded twice")


@pytest.mark.parametrize(
    ("status", "facts", "promise"),
    [
        (OutcomeStatus.RECORDED, {}, "never sent"),
        (OutcomeStatus.DUPLICATE, {}, "only an order"),
        (OutcomeStatus.UNATTRIBUTED, {}, "nobody said so"),
        (OutcomeStatus.REJECTED, {}, "nobody refused"),
        (OutcomeStatus.EXPIRED, {}, "before its deadline"),
        (OutcomeStatus.UNKNOWN, {}, "not ambiguous"),
        (OutcomeStatus.DROPPED, {}, "not one to be shed"),
        (OutcomeStatus.KEPT, {}, "no journal"),
        (OutcomeStatus.ABANDONED, {}, "nobody closed"),
        (OutcomeStatus.COALESCED, {}, "only NET"),
        (OutcomeStatus.ABANDONED, {"attempts": 3}, "miscounted"),
        (OutcomeStatus.ABANDONED, {"ambiguous": True}, "ambiguous is not the truth"),
        (OutcomeStatus.ABANDONED, {"elapsed": 7.0}, "elapsed"),
    ],
)
def test_an_outcome_that_is_not_so(
    status: OutcomeStatus, facts: dict[str, Any], promise: str
) -> None:
    """No status is claimed without its reason, and no fact is wrong."""
    play = Play()
    play.settle(play.cart(), status, **facts)
    broken(play, promise)


def test_a_claim_of_recording_that_the_api_knows_nothing_of() -> None:
    """RECORDED is the API's word."""
    play = Play()
    entry = play.cart()
    play.attempt(entry, End("transient"))
    play.settle(entry, OutcomeStatus.RECORDED)
    broken(play, "the last reply said otherwise")


def test_a_second_outcome() -> None:
    """An event is settled once."""
    play = Play()
    entry = play.cart()
    play.attempt(entry)
    play.settle(entry, OutcomeStatus.RECORDED)
    play.settle(entry, OutcomeStatus.RECORDED)
    broken(play, "settled twice")


def test_an_event_that_outlives_its_deadline() -> None:
    """One deadline, over queue, backoff and attempts."""
    play = Play(cart_timeout=5.0)
    entry = play.cart()
    play.time_now = 6.0
    play.settle(entry, OutcomeStatus.EXPIRED)
    broken(play, "past its deadline")


def test_a_fold_across_a_checkout() -> None:
    """A checkout between two events keeps them apart."""
    play = Play()
    first = play.cart(kind="QUANTITY_INCREASED")
    play.checkout()
    second = play.cart(kind="QUANTITY_INCREASED")
    play.oracle.lanes["ours", "a"].waiting.remove(first)
    checkout = play.oracle.lanes["ours", "a"].checkouts[0]
    play.time_now = 1.0
    play.attempt(checkout)
    play.settle(checkout, OutcomeStatus.RECORDED)
    play.attempt(second)
    play.settle(second, OutcomeStatus.RECORDED)
    survivor = second.outcome
    play.settle(first, OutcomeStatus.COALESCED, survivor=survivor)
    play.oracle.folds.finish()
    broken(play, "no such fold")


def test_a_flush_that_returns_before_its_time() -> None:
    """`flush` waits for everything accepted before it."""
    play = Play()
    play.cart()
    flush = play.oracle.callers.flush(0.0, None)
    flush.returned = True
    broken(play, "flush returned before")


def test_a_flush_that_does_not_return() -> None:
    """`flush` returns once all is settled."""
    play = Play()
    entry = play.cart()
    play.oracle.callers.flush(0.0, None)
    play.attempt(entry)
    play.settle(entry, OutcomeStatus.RECORDED)
    broken(play, "and flush waits")


def test_an_event_that_nobody_sends() -> None:
    """What is due is sent as soon as there is a slot."""
    play = Play(linger=0.5)
    play.cart()
    play.end()
    play.time_now = 1.0
    play.oracle.steps += 1
    broken(play, "nobody sends it")


def test_a_close_that_comes_too_late() -> None:
    """`close` ends at its deadline, but for the second that the transport is granted."""
    play = Play()
    play.oracle.callers.close_by(1.0)
    play.time_now = 3.0
    play.oracle.callers.closed(())
    play.oracle.steps += 1
    broken(play, "after its deadline")


@pytest.mark.parametrize("field", ["accepted", "queued", "in_flight", "requests", "recorded"])
def test_accounts_that_are_off_by_one(field: str) -> None:
    """The accounts are exact at every step."""
    play = Play()
    entry = play.cart()
    play.attempt(entry, LOST)
    play.cart("b")
    with pytest.raises(Violation, match="the accounts differ"):
        play.end(**{field: 7})
