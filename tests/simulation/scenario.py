"""What one life of a client looks like: everything here is drawn from the seed."""

from __future__ import annotations

import random
from typing import Any

import attrs

from alhena_async import (
    BreakerPolicy,
    CartEvent,
    CheckoutEvent,
    HttpPolicy,
    LineItem,
    QueuePolicy,
    RetryPolicy,
    Visitor,
)
from alhena_async.events import CartEventType, Event
from tests.simulation.book import Rules
from tests.simulation.transport import Network

__all__ = ["Crowd", "Disk", "Scenario", "Shopper", "draw"]

_OUTAGES = ("refused", "reset_before", "hang_before", "throttled", "error_before", "error_after")


@attrs.frozen(kw_only=True)
class Disk:
    """What a life's journal is on."""

    latency: float
    """Seconds until a commit, and until a page is read."""
    max_rows: int
    troubles: tuple[tuple[float, float, str], ...]
    """Times in which it is `full`, or `hangs`."""


@attrs.frozen(kw_only=True)
class Scenario:
    """Policies, network, disk and callers of one life."""

    queue: QueuePolicy
    retry: RetryPolicy
    http: HttpPolicy
    coalescing: str
    rules: Rules
    network: Network
    preconditions: str
    budget: int
    """Events to accept in this life."""
    gap: float
    """Seconds between two bursts of calls, on average."""
    grain: float
    """Callers and replies come at multiples of this, so that much happens at once; 0: any time."""
    burst: int
    hot: int
    """Visitors who share `hot_share` of the events; `cold` ones share the rest."""
    cold: int
    hot_share: float
    waits: float
    """The share of calls that wait: `track`, `record`, `record_all`, `flush`."""
    cancels: float
    """The share of those that are cancelled at a random moment."""
    filters: float
    """The share of events that `before_send` drops, amends or chokes on."""
    style: str
    """`with`, `run` or `plain`."""
    drain: float
    """Seconds that the end has."""
    ending: str
    """`flushed`, `closed`, `cancelled` or `twice`: how the life ends."""
    noisy: bool
    """One of the observers raises."""
    transport_hangs: bool
    disk: Disk | None
    """None: there is no journal."""
    forgets: float
    """The share of receipts that nobody keeps."""


def draw(rng: random.Random, budget: int, faults: float) -> Scenario:
    """Draw a scenario of at most `budget` events with this share of faulty requests."""
    queue = QueuePolicy(
        capacity=rng.choice((3, 20, 200, 1_000, 10_000, 10_000)),
        lane_capacity=rng.choice((2, 5, 20, 300, 300, 10_000, 10_000)),
        checkout_reserve=rng.choice((0.0, 0.05, 0.4)),
        linger=rng.choice((0.0, 0.05, 0.5, 0.5, 2.0)),
        flush_at=rng.choice((None, 5, 100, 1_000, 1_000)),
        max_in_flight=rng.choice((1, 2, 8, 32, 32, 64)),
        overflow=rng.choice(("reject", "drop", "shed")),
    )
    breaker = rng.choice(
        (
            BreakerPolicy(),
            BreakerPolicy(min_calls=4, open_for=1.0, open_cap=6.0),
            BreakerPolicy(failure_ratio=0.5, min_calls=8, open_for=0.3),
        )
    )
    retry = RetryPolicy(
        base=rng.choice((0.05, 0.25)),
        throttle_base=rng.choice((0.1, 1.0)),
        cap=rng.choice((2.0, 30.0)),
        retry_after_cap=rng.choice((3.0, 300.0)),
        max_attempts=rng.choice((None, None, None, 1, 2, 5)),
        cart_delivery_timeout=rng.choice((3.0, 30.0, 900.0, 900.0)),
        checkout_delivery_timeout=rng.choice((5.0, 60.0, 86_400.0, 86_400.0)),
        precondition_retries=rng.choice((0, 1, 1, 3)),
        precondition_delay=rng.choice((0.0, 0.5, 2.0)),
        retry_ambiguous_carts=rng.random() < 0.75,
        assign_order_ids=rng.random() < 0.75,
        breaker=breaker,
    )
    http = HttpPolicy(request_timeout=rng.choice((0.5, 3.0, 10.0)))
    coalescing = rng.choice(("off", "duplicates", "latest", "latest", "net"))
    preconditions = rng.choice(("off", "lenient", "strict"))
    latency = rng.choice((0.005, 0.05, 0.05, 0.3))
    burst = rng.choice((1, 5, 5, 20, 20, 100))
    hot, cold = rng.choice((0, 1, 3, 10)), rng.choice((1, 10, 100, 1_000))
    hot_share = rng.choice((0.1, 0.5, 0.9)) if hot else 0.0
    lanes = hot + 1 if hot_share == 0.9 else hot + cold
    rate = min(queue.max_in_flight, lanes) / latency * rng.choice((0.1, 0.5, 0.9, 1.5))
    gap = min((burst + 1) / 2 / rate, 1.0)
    grain = rng.choice((0.0, 0.0, 1 / 64))
    disk = _disk(rng, budget * gap) if rng.random() < 0.4 else None
    if disk is not None:  # nothing waits for an intent on disk, which the oracle does not see
        retry = attrs.evolve(retry, retry_ambiguous_carts=True, assign_order_ids=True)
    return Scenario(
        queue=queue,
        retry=retry,
        http=http,
        coalescing=coalescing,
        rules=_rules(queue, retry, http, coalescing, preconditions),
        network=_network(rng, latency, grain, faults, budget * gap),
        preconditions=preconditions,
        budget=budget,
        gap=gap,
        grain=grain,
        burst=burst,
        hot=hot,
        cold=cold,
        hot_share=hot_share,
        waits=rng.choice((0.0, 0.01, 0.03, 0.3)),
        cancels=rng.choice((0.0, 0.1, 0.5)),
        filters=rng.choice((0.0, 0.0, 0.0, 0.05)),
        style=rng.choice(("with", "run", "plain")),
        drain=rng.choice((0.0, 0.5, 10.0, 1e6)),
        ending=rng.choice(("flushed", "flushed", "flushed", "closed", "cancelled", "twice")),
        noisy=rng.random() < 0.1,
        transport_hangs=rng.random() < 0.05,
        disk=disk,
        forgets=rng.choice((0.0, 0.0, 0.5)),
    )


def _disk(rng: random.Random, length: float) -> Disk:
    troubles = []
    if rng.random() < 0.4:
        for _ in range(rng.randint(1, 3)):
            began = rng.random() * length
            troubles.append((began, began + rng.random() * 10.0, rng.choice(("full", "hangs"))))
    return Disk(
        latency=rng.choice((0.0, 0.002, 0.05, 1.0)),
        max_rows=rng.choice((10, 200, 1_000_000, 1_000_000)),
        troubles=tuple(sorted(troubles)),
    )


def _network(
    rng: random.Random, latency: float, grain: float, faults: float, length: float
) -> Network:
    outages = []
    if faults and rng.random() < 0.3:
        for _ in range(rng.randint(1, 3)):
            began = rng.random() * length
            outages.append((began, began + rng.random() * 20.0, rng.choice(_OUTAGES)))
    return Network(
        latency=latency,
        grain=grain,
        faults=faults,
        outages=tuple(outages),
        retry_after_most=rng.choice((2.0, 2.0, 20.0)),
    )


def _rules(
    queue: QueuePolicy, retry: RetryPolicy, http: HttpPolicy, coalescing: str, preconditions: str
) -> Rules:
    return Rules(
        capacity=queue.capacity,
        lane_capacity=queue.lane_capacity,
        reserve=int(queue.capacity * queue.checkout_reserve),
        max_in_flight=queue.max_in_flight,
        linger=0.5 if queue.linger is None else queue.linger,
        overflow=queue.overflow.value,
        coalescing=coalescing,
        cart_timeout=retry.cart_delivery_timeout,
        checkout_timeout=retry.checkout_delivery_timeout,
        request_timeout=http.request_timeout,
        max_attempts=retry.max_attempts,
        base=retry.base,
        throttle_base=retry.throttle_base,
        longest_delay=retry.cap,
        retry_after_cap=retry.retry_after_cap,
        precondition_retries=retry.precondition_retries,
        precondition_delay=retry.precondition_delay,
        retry_ambiguous_carts=retry.retry_ambiguous_carts,
        assign_order_ids=retry.assign_order_ids,
        preconditions=preconditions,
        failure_ratio=retry.breaker.failure_ratio,
        min_calls=retry.breaker.min_calls,
        open_for=retry.breaker.open_for,
        open_cap=retry.breaker.open_cap,
    )


class Shopper:
    """One visitor, and their cart as the shop knows it."""

    __slots__ = ("cart", "company", "visitor")

    def __init__(self, number: int, company: str, *, has_ticket: bool) -> None:
        ticket = "ticket" if has_ticket else "no-ticket"
        self.visitor = Visitor(fingerprint=f"visitor-{number}", faq_fingerprint=ticket)
        self.company = company
        self.cart: dict[str, int] = {}


class Crowd:
    """Few hot visitors and many cold ones, and what they do next."""

    def __init__(self, scenario: Scenario, rng: random.Random) -> None:
        self._rng = rng
        self._hot = scenario.hot
        self._cold = scenario.cold
        self._hot_share = scenario.hot_share
        self._ticketless = rng.choice((0.0, 0.0, 0.1, 0.7))
        self._others = rng.choice((0.0, 0.0, 0.2))
        self._checkouts = rng.choice((0.0, 0.02, 0.1, 0.3))
        self._own_ids = rng.choice((0.0, 0.5, 1.0))
        self._repeats = rng.choice((0.0, 0.1, 0.4))
        self._double_clicks = rng.choice((0.0, 0.0, 0.1))
        self._products = [f"p{number}" for number in range(rng.choice((1, 3, 8)))]
        self._shoppers: dict[int, Shopper] = {}
        self._orders: list[str] = []
        self._events = 0
        self._clicked: tuple[Shopper, CartEvent] | None = None

    def next(self) -> tuple[Shopper, Event]:
        """Return who does what next. Each event's `value` is a number of its own."""
        rng = self._rng
        if self._clicked is not None and rng.random() < self._double_clicks:
            shopper, clicked = self._clicked
            self._clicked = None
            return shopper, attrs.evolve(clicked, value=int(clicked.value))
        self._events += 1
        hot = rng.random() < self._hot_share
        number = int(rng.random() * (self._hot if hot else self._cold))
        shopper = self._shopper(-1 - number if hot else number)
        if rng.random() < self._checkouts:
            self._clicked = None
            return shopper, self._checkout(shopper)
        event = self._cart_event(shopper)
        self._clicked = (shopper, event)
        return shopper, event

    def _shopper(self, number: int) -> Shopper:
        shopper = self._shoppers.get(number)
        if shopper is None:
            company = "ours"
            if self._rng.random() < self._others:
                company = self._rng.choice(("theirs", "theirs", "unknown"))
            has_ticket = self._rng.random() >= self._ticketless
            shopper = Shopper(number, company, has_ticket=has_ticket)
            self._shoppers[number] = shopper
        return shopper

    def _cart_event(self, shopper: Shopper) -> CartEvent:
        draw = self._rng.random
        product = self._products[int(draw() * len(self._products))]
        quantity = shopper.cart.get(product, 0)
        kind, quantity = _change(quantity, draw(), draw())
        shopper.cart[product] = quantity
        return CartEvent(
            visitor=shopper.visitor,
            type=CartEventType(kind),
            product_id=product,
            product_name="Mug",
            value=float(self._events),
            currency="EUR",
            quantity=quantity,
            source="app" if self._double_clicks and draw() < 0.05 else None,
        )

    def _checkout(self, shopper: Shopper) -> CheckoutEvent:
        return CheckoutEvent(
            visitor=shopper.visitor,
            value=float(self._events),
            currency="EUR",
            line_items=_LINES,
            order_id=self._order_id(),
        )

    def _order_id(self) -> str | None:
        if self._rng.random() >= self._own_ids:
            return None
        if self._orders and self._rng.random() < self._repeats:
            return self._rng.choice(self._orders[-20:])
        self._orders.append(f"order-{len(self._orders)}")
        return self._orders[-1]


_LINES: Any = (LineItem(product_id="p", product_name="Mug", quantity=1, value=5, currency="EUR"),)


def _change(quantity: int, way: float, amount: float) -> tuple[str, int]:
    """Return what a shopper does with so many of a product, and how many they then have."""
    more = 1 + int(3 * amount)
    if quantity == 0:
        return "ITEM_ADDED", more
    if way < 0.5:
        return "QUANTITY_INCREASED", quantity + more
    if way < 0.7 and quantity > 1:
        return "QUANTITY_DECREASED", quantity - 1
    return "ITEM_REMOVED", 0
