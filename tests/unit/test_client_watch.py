"""Accounting, statistics and observers."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    BreakerState,
    DeliveryDroppedError,
    Endpoint,
    Event,
    InvalidEventError,
    Observer,
    Outcome,
    OutcomeStatus,
    Overflow,
    QueueFullError,
    QueuePolicy,
    Receipt,
    RetryPolicy,
    Stats,
)
from alhena_async.testing import virtual
from tests.scripted import (
    HANG,
    NEVER_SENT,
    OK,
    RESET,
    Script,
    balance,
    cart,
    checkout,
    client_over,
    code,
    status,
)

FAULTS = [OK] * 6 + [HANG, NEVER_SENT, RESET, status(500), status(429, retry_after=1), status(404)]
FAULTS += [code("ACTIVE_TICKET_NOT_FOUND"), code("PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND")]
FAULTS += [code("ORDER_ALREADY_EXISTS"), ZeroDivisionError("a bug in a transport")]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("overflow", Overflow)
@virtual
async def test_the_accounts_balance_at_every_moment(seed: int, overflow: Overflow) -> None:
    """Accepted = the sum of all statuses + queued + in flight, under every fault there is."""
    dice = random.Random(seed)
    transport = Script(otherwise=lambda _: dice.choice(FAULTS), latency=0.05)
    queue = QueuePolicy(capacity=40, overflow=overflow, linger=0.3, flush_at=25)
    retry = RetryPolicy(cart_delivery_timeout=20.0, checkout_delivery_timeout=40.0)
    async with client_over(
        transport, queue=queue, retry=retry, coalescing=dice.choice(["latest", "net"])
    ) as client:
        for _ in range(400):
            who = f"v{dice.randrange(12)}"
            kind = dice.choice(["ITEM_ADDED", "QUANTITY_INCREASED", "ITEM_REMOVED"])
            event: Event = cart(who, type=kind, quantity=0 if kind == "ITEM_REMOVED" else 2)
            if dice.random() < 0.2:
                event = checkout(who, order_id=dice.choice([None, f"o{dice.randrange(30)}"]))
            try:
                client.track_nowait(event)
            except QueueFullError:
                assert overflow is not Overflow.DROP
            balance(client)
            if dice.random() < 0.3:
                await asyncio.sleep(dice.choice([0, 0.01, 0.4]))
                balance(client)
        report = await client.close(timeout=dice.choice([0.0, 5.0, 100.0]))
        balance(client)
        assert report.stats == client.stats()
        assert report.stats.queued == report.stats.in_flight == 0
        assert report.stats.abandoned == len(report.undelivered)


@virtual
async def test_stats_count_each_status_by_its_name() -> None:
    """A frozen snapshot; requests and retries are counted as well."""
    transport = Script(OK, status(500), OK, code("ACTIVE_TICKET_NOT_FOUND"), status(404))
    async with client_over(transport, queue=QueuePolicy(linger=0.0)) as client:
        before = client.stats()
        for number in range(4):
            await client.track_nowait(cart(f"v{number}"))
        stats = client.stats()
    assert before == Stats()
    assert (stats.recorded, stats.unattributed, stats.rejected) == (2, 1, 1)
    assert (stats.accepted, stats.requests, stats.retries) == (4, 5, 1)
    with pytest.raises(AttributeError):
        stats.recorded = 7  # type: ignore[misc]


@virtual
async def test_the_oldest_age_is_that_of_the_oldest_unsettled_event() -> None:
    """Carts and checkouts alike, 0 when there is none."""
    async with client_over(Script(latency=5.0)) as client:
        assert client.stats().oldest_age == 0.0
        client.track_nowait(checkout())
        await asyncio.sleep(2.0)
        client.track_nowait(cart("w"))
        await asyncio.sleep(1.0)
        assert client.stats().oldest_age == 3.0
        await asyncio.sleep(3.0)
        assert client.stats().oldest_age == 4.0
        await client.flush()
        assert client.stats().oldest_age == 0.0


@virtual
async def test_repr_tells_the_state() -> None:
    """Life, destination and load, and nothing of any event."""
    client = client_over(Script(HANG), base_url="https://example.test/")
    assert repr(client) == "<AlhenaClient new, https://example.test/, 0 queued, 0 in flight>"
    async with client:
        client.track_nowait(checkout("secret"))
        client.track_nowait(cart("other secret"))
        await asyncio.sleep(0.1)
        assert "running" in repr(client)
        assert "1 queued, 1 in flight" in repr(client)
        assert "secret" not in repr(client)
        await client.close(timeout=0)
    assert "closed" in repr(client)


class Notes(Observer):
    """Writes down everything."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def accepted(self, event: Event) -> None:
        self.notes.append(("accepted",))

    def attempt(self, event: Event, number: int) -> None:
        self.notes.append(("attempt", number))

    def attempt_ended(
        self, event: Event, number: int, seconds: float, status: int | None, reason: str
    ) -> None:
        self.notes.append(("attempt ended", number, status, reason))

    def retry(self, event: Event, delay: float, reason: str) -> None:
        self.notes.append(("retry", delay > 0, reason))

    def outcome(self, outcome: Outcome) -> None:
        self.notes.append(("outcome", outcome.status))

    def breaker_changed(self, endpoint: Endpoint, state: BreakerState) -> None:
        self.notes.append(("breaker", endpoint, state))


@virtual
async def test_observers_hear_of_everything_in_order() -> None:
    """Accepted, attempt, retry, outcome; the breaker's moves between them."""
    notes = Notes()
    retry = RetryPolicy(breaker=BreakerPolicy(min_calls=1))
    transport = Script(status(500))
    async with client_over(transport, observers=[notes], retry=retry) as client:
        await client.record(cart())
    assert notes.notes == [
        ("accepted",),
        ("attempt", 1),
        ("attempt ended", 1, 500, "HTTP 500"),
        ("breaker", Endpoint.CART, BreakerState.OPEN),
        ("retry", True, "HTTP 500"),
        ("breaker", Endpoint.CART, BreakerState.HALF_OPEN),
        ("attempt", 2),
        ("attempt ended", 2, 200, ""),
        ("breaker", Endpoint.CART, BreakerState.CLOSED),
        ("outcome", OutcomeStatus.RECORDED),
    ]


class Raising(Observer):
    """Fails in every method it has."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            raise ZeroDivisionError(name)
        return super().__getattribute__(name)


@virtual
async def test_a_raising_observer_is_logged_and_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other observers hear all, and the events are delivered."""
    notes = Notes()
    caplog.set_level(logging.ERROR, logger="alhena_async")
    async with client_over(Script(RESET), observers=[Raising(), notes]) as client:
        outcome = await client.record(cart())
        assert outcome.status is OutcomeStatus.RECORDED
        balance(client)
    assert notes.notes[-1] == ("outcome", OutcomeStatus.RECORDED)
    assert "observer Raising failed in accepted" in caplog.text
    assert caplog.text.count("Raising failed") == len(notes.notes)


WAYS = ["record", "receipt", "done receipt", "dropped", "record dropped", "record_all", "flush"]


@pytest.mark.parametrize("way", WAYS)
@virtual
async def test_observers_hear_of_an_outcome_before_anyone_who_awaits_it(way: str) -> None:
    """A metric that is read after the call has counted the event."""
    notes = Notes()
    drops = {"before_send": lambda _: None} if "dropped" in way else {}
    async with client_over(Script(), observers=[notes], **drops) as client:
        if way.startswith("record"):
            if way == "record_all":
                outcomes = [one async for one in client.record_all([cart()])]
                assert [one.status for one in outcomes] == [OutcomeStatus.RECORDED]
            elif way == "record":
                await client.record(cart())
            else:
                with pytest.raises(DeliveryDroppedError):
                    await client.record(cart())
        else:
            receipt = client.track_nowait(cart())
            if way in {"done receipt", "flush"}:
                await client.flush()
            if way != "flush":
                await receipt
        assert notes.notes[-1][0] == "outcome"


@virtual
async def test_observers_hear_before_all_who_await_the_same_turns_outcomes() -> None:
    """Fifty that settle side by side, with a folded one among each: none is ahead of its note."""
    notes = Notes()
    heard: list[int] = []
    async with client_over(Script(latency=0.1), observers=[notes]) as client:

        async def wait_for(receipt: Receipt) -> None:
            await receipt
            heard.append(sum(note[0] == "outcome" for note in notes.notes))

        receipts = [client.track_nowait(cart(f"v{number % 50}")) for number in range(100)]
        async with asyncio.TaskGroup() as group:
            for receipt in receipts:
                group.create_task(wait_for(receipt))
    assert all(number > place for place, number in enumerate(heard))


class Async(Observer):
    async def outcome(self, outcome: Outcome) -> None:  # type: ignore[override]
        pass


class AsyncStatic(Observer):
    @staticmethod
    async def invalid(error: InvalidEventError) -> None:  # type: ignore[override]
        pass


class ReturnsCoroutine(Observer):
    def accepted(self, event: Event) -> Any:
        return Async().outcome(Outcome(status=OutcomeStatus.RECORDED, event=event))


class NoMethod(Observer):
    outcome: Any = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("observer", "told"),
    [
        (Async(), "Async.outcome must be a plain function, not a coroutine function"),
        (AsyncStatic(), "AsyncStatic.invalid must be a plain function"),
        (Notes, r"observers must hold an instance: Notes\(\), not the class Notes"),
        (NoMethod(), "NoMethod.outcome must be a method, not dict"),
        (print, "observers must hold instances of Observer: there is no builtin_.*accepted"),
        (object(), "observers must hold instances of Observer: there is no object.accepted"),
        (None, "there is no NoneType.accepted"),
    ],
)
def test_an_observer_that_cannot_work_is_refused(observer: Any, told: str) -> None:
    """Where the client is made, and not by silence at the first outcome."""
    with pytest.raises(TypeError, match=told):
        client_over(Script(), observers=[observer])


@pytest.mark.parametrize("observers", [Notes(), None, 5, print])
def test_one_observer_alone_is_refused(observers: Any) -> None:
    """The message names the argument and the cure."""
    with pytest.raises(TypeError, match=r"observers must be several, also where it is one: \[x\]"):
        client_over(Script(), observers=observers)


class Passes:
    """An observer of the duck's kind: it answers to every name."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *facts: self.heard.append(name)


@virtual
async def test_what_answers_to_every_name_will_do() -> None:
    """A mock, a proxy."""
    observer = Passes()
    async with client_over(Script(), observers=[observer]) as client:
        await client.record(cart())
    assert {"accepted", "attempt", "outcome"} <= set(observer.heard)


@virtual
async def test_a_coroutine_that_an_observer_returns_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What no look at the function can tell: it is closed, and the log says so."""
    async with client_over(Script(), observers=[ReturnsCoroutine()]) as client:
        await client.record(cart())
    assert "observer ReturnsCoroutine failed in accepted" in caplog.text


@virtual
async def test_a_callback_that_is_a_coroutine_function_is_refused() -> None:
    """It would never run; the same for a receipt that is done."""

    async def callback(receipt: Receipt) -> None:
        pass

    async with client_over(Script()) as client:
        receipt = client.track_nowait(cart())
        for _ in range(2):
            with pytest.raises(TypeError, match="the callback must be a plain function"):
                receipt.add_done_callback(callback)
            await receipt


class CallsBack(Observer):
    """Uses the client from within its calls, as a dead-letter queue of a shop's own would."""

    client: AlhenaClient

    def outcome(self, outcome: Outcome) -> None:
        balance(self.client)
        if outcome.status is OutcomeStatus.REJECTED:
            self.client.track_nowait(checkout("second chance"))


@virtual
async def test_an_observer_may_call_the_client_back() -> None:
    """It finds the client in a settled state, in which everything works."""
    observer = CallsBack()
    transport = Script(status(404))
    async with client_over(transport, observers=[observer]) as client:
        observer.client = client
        client.track_nowait(cart())
        await client.flush()
        await asyncio.sleep(0)
        await client.flush()
        assert client.stats().recorded == 1
        assert client.stats().rejected == 1


@virtual
async def test_observers_hear_the_last_outcomes_before_close_returns() -> None:
    """What is abandoned is told as well."""
    notes = Notes()
    async with client_over(Script(HANG), observers=[notes]) as client:
        client.track_nowait(cart())
        await client.close(timeout=0)
        assert notes.notes[-1] == ("outcome", OutcomeStatus.ABANDONED)


@virtual
async def test_no_fingerprint_and_no_payload_is_logged_above_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever goes wrong, with observers and transports that fail as well."""
    caplog.set_level(logging.INFO)
    bug = ZeroDivisionError("bug")
    transport = Script(status(404), bug, code("COMPANY_NOT_FOUND"), otherwise=status(500))
    retry = RetryPolicy(cart_delivery_timeout=100.0)
    async with client_over(transport, retry=retry, observers=[Raising()]) as client:
        for number in range(60):
            client.track_nowait(cart(f"secret-visitor-{number}", product="secret-product"))
        client.track_nowait(checkout("secret-visitor", order_id="secret-order"))
        await asyncio.sleep(200.0)
        await client.close(timeout=0)
    assert caplog.records
    assert "secret" not in caplog.text
