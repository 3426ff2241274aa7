"""A relay delivers what was published: in order, and settled before it is acknowledged."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alhena_async import HttpPolicy, Observer, Outcome, OutcomeStatus, RetryPolicy
from alhena_async.relay import Lease, Parcel, Publisher, Relay
from alhena_async.relay._message import Message, encode
from alhena_async.relay._seam import Source
from alhena_async.testing import MemoryBroker, virtual
from tests.scripted import HANG, RESET, Script, cart, checkout, code, status

LEASE = 60.0


@asynccontextmanager
async def relaying(
    broker: MemoryBroker, api: Script, *, drain: float = 10.0, **arguments: Any
) -> AsyncIterator[Relay]:
    """A relay that runs while the block does."""
    relay = Relay(broker=broker, transport=api, **arguments)
    task = asyncio.create_task(relay.run(drain_timeout=drain))
    try:
        yield relay
    finally:
        relay.stop()
        await task


async def publish(broker: MemoryBroker, *events: Any, **arguments: Any) -> None:
    async with Publisher("shop", broker=broker, coalescing="off", **arguments) as shop:
        for event in events:
            await shop.record(event)


async def empty(broker: MemoryBroker) -> None:
    """Wait until nothing is left at the broker."""
    while broker.waiting:  # noqa: ASYNC110  on virtual time
        await asyncio.sleep(0.1)


def letters(broker: MemoryBroker) -> list[dict[str, Any]]:
    return [json.loads(letter) for letter in broker.letters]


@virtual
async def test_what_was_published_is_delivered_in_order() -> None:
    """Each visitor's events one after the other, and then nothing is left."""
    broker, api = MemoryBroker(), Script()
    events = [cart(who, product=f"{number}") for number in range(5) for who in ("a", "b")]
    await publish(broker, *events, checkout("a", order_id="o-1"))
    async with relaying(broker, api) as relay:
        await empty(broker)
        assert relay.stats().connected
        assert (relay.stats().done, relay.stats().held) == (11, 0)
    assert api.of("a") == [f"{number}:ITEM_ADDED:1" for number in range(5)] + ["o-1"]
    assert api.of("b") == [f"{number}:ITEM_ADDED:1" for number in range(5)]
    assert not relay.stats().connected
    assert not broker.letters


@virtual
async def test_an_outage_of_the_api_loses_and_buries_nothing() -> None:
    """Longer than many leases: they are extended, and nothing changes hands."""
    broker, api = MemoryBroker(lease=LEASE), Script()
    api.fail(times=None)
    retry = RetryPolicy(cart_delivery_timeout=86_400.0, precondition_retries=0)
    await publish(broker, *(cart(f"v{number}") for number in range(20)), retry=retry)
    async with relaying(broker, api, retry=retry) as relay:
        await asyncio.sleep(20 * LEASE)
        assert relay.stats().held == 20
        api.recover()
        await empty(broker)
    assert (relay.stats().redelivered, relay.stats().sessions, relay.stats().done) == (0, 1, 20)
    assert not broker.letters


@pytest.mark.parametrize(
    ("answer", "ending"),
    [(code("COMPANY_NOT_FOUND"), "rejected"), (status(451), "rejected")],
)
@virtual
async def test_what_is_refused_is_a_letter(answer: Any, ending: str) -> None:
    """And is acknowledged once that is kept; the lane goes on."""
    broker, api = MemoryBroker(), Script(answer)
    await publish(broker, cart(product="bad"), cart(product="good"))
    async with relaying(broker, api) as relay:
        await empty(broker)
    [letter] = letters(broker)
    assert letter["status"] == ending
    assert letter["message"]["event"]["product_id"] == "bad"
    assert (relay.stats().done, relay.stats().dead_letters) == (1, 1)


UNREADABLE = [b"", b"{", b"[]", b"\xff\xfe", b'{"v":2}', b'{"v":1,"event":NaN}', b"[" * 100_000]


@virtual
async def test_what_is_unreadable_is_a_letter(caplog: pytest.LogCaptureFixture) -> None:
    """With the rule, never the value; the session and the lane go on."""
    caplog.set_level(logging.WARNING)
    broker, api = MemoryBroker(), Script()
    channel = broker.channel()
    for number, body in enumerate(UNREADABLE):
        await channel.publish(Parcel(f"x{number}", 7, body))
    await channel.publish(Parcel("good", 7, message()))
    async with relaying(broker, api) as relay:
        await empty(broker)
    assert [letter["status"] for letter in letters(broker)] == ["unreadable"] * len(UNREADABLE)
    assert (relay.stats().done, relay.stats().sessions) == (1, 1)
    assert any("is no event" in line for line in caplog.messages)


def message(age: float = 0.0, **fields: Any) -> bytes:
    given = {"company_key": "shop", "order_id": None, "event": cart()} | fields
    return encode(Message(accepted_at=time.time() - age, **given))


@virtual
async def test_deadlines_travel() -> None:
    """They run from the acceptance: what is over is a letter without a request."""
    broker, api = MemoryBroker(), Script()
    channel = broker.channel()
    await channel.publish(Parcel("old", 1, message(age=901.0)))
    await channel.publish(Parcel("ahead", 1, message(age=-3_600.0)))
    async with relaying(broker, api) as relay:
        await empty(broker)
    [letter] = letters(broker)
    assert (letter["status"], letter["attempts"]) == ("expired", 0)
    assert len(api.sent) == 1
    assert relay.stats().done == 1


@virtual
async def test_an_order_keeps_its_id_and_a_repeat_of_it_is_recorded() -> None:
    """One that was handed out before counts as perhaps sent."""
    broker, api = MemoryBroker(lease=5.0), Script()
    await publish(broker, checkout(order_id=None))
    dead = broker.source()
    [_] = await dead.take(1)
    api.answer(code("ORDER_ALREADY_EXISTS"))
    seen = Outcomes()
    async with relaying(broker, api, observers=[seen]) as relay:
        await empty(broker)
    assert seen.statuses == [OutcomeStatus.RECORDED]
    assert relay.stats().redelivered == 1
    assert str(api.sent[0].payload["orderId"]).startswith("auto-")


class Outcomes(Observer):
    def __init__(self) -> None:
        self.statuses: list[OutcomeStatus] = []

    def outcome(self, outcome: Outcome) -> None:
        self.statuses.append(outcome.status)


@virtual
async def test_an_order_without_an_id_is_not_sent_by_a_second_one() -> None:
    """It may have been recorded, and nothing would tell."""
    broker, api = MemoryBroker(lease=5.0), Script()
    event = checkout(order_id=None)
    await broker.channel().publish(Parcel("x", 1, message(event=event)))
    [_] = await broker.source().take(1)
    async with relaying(broker, api):
        await empty(broker)
    assert [letter["status"] for letter in letters(broker)] == ["unknown"]
    assert not api.sent


@virtual
async def test_stopped_it_gives_back_what_it_cannot_finish(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next one has it at once, and not after the lease; no line speaks of a loss."""
    caplog.set_level(logging.INFO)
    broker, api = MemoryBroker(lease=600.0), Script()
    api.hang(times=None)
    loop = asyncio.get_running_loop()
    await publish(broker, *(cart(f"v{number}") for number in range(5)))
    async with relaying(broker, api, drain=2.0, http=HttpPolicy(request_timeout=60.0)) as relay:
        while relay.stats().held < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        relay.stop()
        began = loop.time()
    assert 2.0 <= loop.time() - began < 3.0
    assert broker.waiting == 5
    assert any("and kept: another relay delivers them" in line for line in caplog.messages)
    assert not any("gone" in line or "ABANDONED" in line for line in caplog.messages)
    api.recover()
    began = loop.time()
    async with relaying(broker, api) as other:
        await empty(broker)
        assert loop.time() - began < 2.0
    assert other.stats().redelivered == 5


@virtual
async def test_cancelled_it_drains_and_raises() -> None:
    """As the client's `run` does."""
    broker, api = MemoryBroker(), Script(latency=1.0)
    await publish(broker, cart())
    relay = Relay(broker=broker, transport=api)
    task = asyncio.create_task(relay.run())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert broker.waiting == 0
    assert relay.stats().done == 1


@virtual
async def test_a_second_request_to_cancel_gives_back_at_once() -> None:
    """Nothing is waited for any more."""
    broker, api = MemoryBroker(lease=600.0), Script()
    api.hang(times=None)
    await publish(broker, cart())
    relay = Relay(broker=broker, transport=api)
    task = asyncio.create_task(relay.run(drain_timeout=300.0))
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.5)
    began = loop.time()
    task.cancel()
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert loop.time() - began < 5.0
    [lease] = await asyncio.wait_for(broker.source().take(1), 1.0)
    assert lease.delivery == 2


@virtual
async def test_a_broker_that_is_away_ends_no_relay(caplog: pytest.LogCaptureFixture) -> None:
    """It tries again every second or so, says so, and is not ready meanwhile."""
    caplog.set_level(logging.WARNING)
    broker, api = MemoryBroker(), Script()
    await publish(broker, cart("a"), cart("b"))
    broker.go_down()
    async with relaying(broker, api) as relay:
        await asyncio.sleep(120)
        assert not relay.stats().connected
        broker.come_back()
        await empty(broker)
        broker.go_down()
        await asyncio.sleep(10)
        assert not relay.stats().connected
        broker.come_back()
        await asyncio.sleep(3)
        assert relay.stats().connected
    assert relay.stats().sessions == 2
    assert any("not be taken from" in line for line in caplog.messages)
    assert any("can be taken from again" in line for line in caplog.messages)


@virtual
async def test_a_relay_that_is_full_hears_that_its_connection_is_lost() -> None:
    """Before another can have begun anew: the broker may not know any more who has what."""
    broker, api = MemoryBroker(lease=600.0), Script()
    api.fail(times=None)
    await publish(broker, cart("a"), cart("b"))
    retry = RetryPolicy(base=100.0, cap=100.0, precondition_retries=0)
    async with relaying(broker, api, room=1, retry=retry) as relay:
        while not api.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        broker.go_down()
        await asyncio.sleep(1.0)
        assert not relay.stats().connected
        broker.come_back()
        api.recover()
        await empty(broker)


class Stopped(MemoryBroker):
    """Confirms no lease any more once it is told."""

    confirms = True

    def source(self) -> Any:
        return Unconfirmed(self, super().source())


class Unconfirmed:
    def __init__(self, broker: Stopped, source: Source) -> None:
        self._broker = broker
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def extend(self, leases: list[Lease]) -> None:
        if not self._broker.confirms:
            await asyncio.get_running_loop().create_future()
        await self._source.extend(leases)


@virtual
async def test_without_a_confirmation_nothing_more_is_sent() -> None:
    """Two thirds of a lease without one: connection and client are dropped, another begins anew."""
    broker, api = Stopped(lease=30.0), Script()
    api.fail(times=None)
    loop = asyncio.get_running_loop()
    await publish(broker, *(cart(f"v{number}") for number in range(10)))
    retry = RetryPolicy(base=0.2, cap=1.0, precondition_retries=0)
    async with relaying(broker, api, retry=retry) as relay:
        while not api.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        broker.confirms = False
        began = loop.time()
        while not relay.stats().fenced:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        fenced = loop.time()
        assert fenced - began <= 30.0
        sent = len(api.sent)
        assert not [one for one in api.sent if one.at >= began + 20.0]
        broker.confirms = True
        api.recover()
        await empty(broker)
        assert api.sent[sent].at >= began + 10.0
        assert loop.time() >= fenced
    assert (relay.stats().fenced, relay.stats().done) == (1, 10)
    assert not broker.letters


@virtual
async def test_one_poisoned_event_does_not_hold_its_lane() -> None:
    """After so many attempts that failed while the API settled others, it is a letter."""
    broker, api = MemoryBroker(), Script()
    api.answer(status(500), times=None, product_id="poison")
    retry = RetryPolicy(base=0.5, cap=0.5, precondition_retries=0)
    await publish(broker, cart("a", product="poison"), cart("a", product="good"))
    async with relaying(broker, api, retry=retry, max_attempts=3):
        for number in range(60):
            await publish(broker, cart("b", product=f"{number}"))
            await asyncio.sleep(0.25)
        await empty(broker)
    [letter] = letters(broker)
    assert letter["message"]["event"]["product_id"] == "poison"
    assert letter["status"] == "expired"
    assert "max_attempts=3" in letter["detail"]
    assert 3 <= letter["attempts"] <= 15  # full jitter may have several between two of the others
    assert "good:ITEM_ADDED:1" in api.of("a")


@virtual
async def test_attempts_during_an_outage_bury_nothing() -> None:
    """However many there were, and at the moment of its end."""
    broker, api = MemoryBroker(), Script()
    api.answer(RESET, times=None)
    retry = RetryPolicy(base=0.2, cap=1.0, precondition_retries=0)
    await publish(broker, *(cart(f"v{number}") for number in range(30)))
    async with relaying(broker, api, retry=retry, max_attempts=2) as relay:
        await asyncio.sleep(300)
        api.recover()
        await empty(broker)
    assert relay.stats().done == 30
    assert not broker.letters


@virtual
async def test_precondition_retries_are_off() -> None:
    """Order holds over all processes, and two seconds of waiting would hold a partition."""
    broker = MemoryBroker()
    api = Script(code("PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"))
    await publish(broker, cart())
    async with relaying(broker, api):
        await empty(broker)
    assert len(api.sent) == 1
    assert len(broker.letters) == 1


@virtual
async def test_nothing_is_acknowledged_before_it_is_settled() -> None:
    """A relay that dies with a request on the wire leaves the event to the next."""
    broker, api = MemoryBroker(lease=10.0), Script(HANG)
    await publish(broker, cart())
    relay = Relay(broker=broker, transport=api, http=HttpPolicy(request_timeout=1_000.0))
    task = asyncio.create_task(relay.run())
    await asyncio.sleep(3)
    assert (broker.waiting, relay.stats().done, len(api.sent)) == (1, 0, 1)
    relay.stop()
    await task
    assert broker.waiting == 1


@pytest.mark.parametrize("argument", ["max_attempts", "room", "max_in_flight"])
def test_numbers_are_whole_and_positive(argument: str) -> None:
    """And the error names them."""
    for number in (0, -1, 1.5, True, None):
        with pytest.raises(ValueError, match=argument):
            Relay(broker=MemoryBroker(), **{argument: number})  # type: ignore[arg-type]
