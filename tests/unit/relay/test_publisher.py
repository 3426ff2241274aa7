"""A publisher is a client with a broker where HTTP was: what it hands over, and when."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    BreakerPolicy,
    BreakerState,
    DeliveryError,
    HttpPolicy,
    OutcomeStatus,
    QueuePolicy,
    RetryPolicy,
    TransportError,
)
from alhena_async.relay import JetStream, Parcel, Publisher
from alhena_async.relay._message import Message, decode
from alhena_async.testing import MemoryBroker, MemoryTransport, virtual
from tests.scripted import balance, cart, checkout

PUBLISHED = OutcomeStatus.PUBLISHED


def publisher(broker: MemoryBroker, **arguments: Any) -> Publisher:
    return Publisher("shop", broker=broker, **arguments)


def messages(broker: MemoryBroker) -> list[Message]:
    return [decode(parcel.body) for parcel in broker.published]


def products(broker: MemoryBroker) -> list[str]:
    return [str(getattr(one.event, "product_id", one.order_id)) for one in messages(broker)]


@virtual
async def test_what_the_broker_has_ends_published() -> None:
    """By `record`, by a receipt, and by `record_all`; it is ok, and quiet."""
    broker = MemoryBroker()
    async with publisher(broker) as shop:
        assert isinstance(shop, AlhenaClient)
        outcome = await shop.record(cart(product="a"))
        receipt = await shop.track_nowait(checkout(order_id="o-1"))
        rest = [one async for one in shop.record_all([cart(product="b")])]
        for one in (outcome, receipt, *rest):
            assert (one.status, one.ok, one.attempts, one.ambiguous) == (PUBLISHED, True, 1, False)
            one.raise_for_status()
        stats = shop.stats()
        assert (stats.published, stats.recorded, stats.requests) == (3, 0, 3)
        balance(shop)
    assert products(broker) == ["a", "o-1", "b"]


@virtual
async def test_a_message_says_all_that_a_relay_needs() -> None:
    """Key, order id, moment, and the event with the digits that it had."""
    broker = MemoryBroker()
    async with publisher(broker) as shop:
        await shop.record(checkout(order_id=None), company_key="other")
    [message] = messages(broker)
    assert message.company_key == "other"
    assert message.order_id is not None
    assert message.order_id.startswith("auto-")
    assert message.event == checkout(order_id=None)


@virtual
async def test_it_does_not_linger() -> None:
    """Half a second here would let another process overtake it; `QueuePolicy()` is silent."""
    loop = asyncio.get_running_loop()
    for queue in (None, QueuePolicy(capacity=500)):
        async with publisher(MemoryBroker(), queue=queue) as shop:
            began = loop.time()
            assert (await shop.track_nowait(cart())).status is PUBLISHED
            assert loop.time() - began < 0.1


@virtual
async def test_it_lingers_where_its_policy_says_so() -> None:
    """In so many words."""
    loop = asyncio.get_running_loop()
    async with publisher(MemoryBroker(), queue=QueuePolicy(linger=2.0)) as shop:
        began = loop.time()
        first, second = (shop.track_nowait(cart(quantity=number)) for number in (1, 2))
        assert (await second).status is PUBLISHED
        assert loop.time() - began >= 2.0
        assert (await first).status is OutcomeStatus.COALESCED


@virtual
async def test_one_event_of_a_visitor_is_on_its_way_at_a_time() -> None:
    """The next goes after the broker's answer; other visitors do not wait."""
    broker = SlowBroker()
    async with publisher(broker, coalescing="off") as shop:
        for number in range(5):
            for who in ("x", "y"):
                shop.track_nowait(cart(who, product=f"{who}{number}"))
        await shop.flush()
    assert broker.most_of_a_lane == 1
    assert broker.most == 2
    for who in ("x", "y"):
        own = [one for one in products(broker) if one.startswith(who)]
        assert own == [f"{who}{number}" for number in range(5)]


class SlowBroker(MemoryBroker):
    """Takes a second for each, and counts how many are on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.out: list[int] = []
        self.most = self.most_of_a_lane = 0

    async def publish(self, parcel: Parcel) -> None:
        self.out.append(parcel.lane)
        self.most = max(self.most, len(self.out))
        self.most_of_a_lane = max(self.most_of_a_lane, self.out.count(parcel.lane))
        try:
            await asyncio.sleep(1.0)
            await super().publish(parcel)
        finally:
            self.out.remove(parcel.lane)


@virtual
async def test_a_lost_answer_never_makes_two_of_an_event() -> None:
    """Every attempt carries the same id: the broker has it once, and it ends well."""
    broker = MemoryBroker()
    broker.lose_answers(3)
    async with publisher(broker) as shop:
        outcome = await shop.record(cart(), timeout=None)
    assert (outcome.status, outcome.ambiguous) == (PUBLISHED, False)
    assert outcome.attempts == 4
    assert len(broker.published) == 1


@virtual
async def test_two_equal_events_are_two_events() -> None:
    """The id is the envelope's, and never the bytes'."""
    broker = MemoryBroker()
    async with publisher(broker, coalescing="off") as shop:
        for _ in range(3):
            await shop.record(cart())
    assert len(broker.published) == 3
    assert len({parcel.id for parcel in broker.published}) == 3


@virtual
async def test_two_publishers_never_use_the_same_id() -> None:
    """They may start at the same moment, and count alike."""
    broker = MemoryBroker()
    async with publisher(broker) as one, publisher(broker) as two:
        await asyncio.gather(one.record(cart()), two.record(cart()))
    assert len(broker.published) == 2


@virtual
async def test_what_may_not_be_repeated_may_be_published_again() -> None:
    """Whatever the policy says of requests: `UNKNOWN` does not occur."""
    broker = MemoryBroker()
    broker.lose_answers(2)
    retry = RetryPolicy(retry_ambiguous_carts=False, assign_order_ids=False)
    async with publisher(broker, retry=retry) as shop:
        for event in (cart(), checkout(order_id=None)):
            assert (await shop.record(event, timeout=None)).status is PUBLISHED
    assert len(broker.published) == 2


@virtual
async def test_an_order_that_was_published_lately_is_a_duplicate() -> None:
    """As one that was recorded is at a client."""
    broker = MemoryBroker()
    async with publisher(broker) as shop:
        await shop.record(checkout(order_id="o-1"))
        again = await shop.record(checkout(order_id="o-1"))
    assert again.status is OutcomeStatus.DUPLICATE
    assert "published" in str(again.detail)
    assert len(broker.published) == 1


@virtual
async def test_the_start_never_waits_for_the_broker(caplog: pytest.LogCaptureFixture) -> None:
    """Events wait; nothing of it is a failed attempt, and the log says once what is wrong."""
    caplog.set_level(logging.WARNING)
    loop = asyncio.get_running_loop()
    broker = MemoryBroker()
    broker.go_down()
    began = loop.time()
    async with publisher(broker) as shop:
        assert loop.time() - began < 0.1
        receipts = [shop.track_nowait(cart(f"v{number}")) for number in range(200)]
        await asyncio.sleep(600)
        stats = shop.stats()
        assert (stats.requests, stats.failed_attempts, stats.queued) == (0, 0, 200)
        assert stats.breaker is BreakerState.CLOSED
        broker.come_back()
        back = loop.time()
        outcomes = [await receipt for receipt in receipts]
        assert loop.time() - back < 2.0
    assert {(one.status, one.attempts) for one in outcomes} == {(PUBLISHED, 1)}
    out = [one for one in caplog.messages if "out of reach" in one]
    assert len(out) == 2, out  # the beginning, and a reminder after five minutes
    assert "MemoryBroker" in out[0]
    assert any("answers again" in one for one in caplog.messages)


@virtual
async def test_events_expire_by_their_own_deadline_while_the_broker_is_away() -> None:
    """Nobody waits for ever."""
    broker = MemoryBroker()
    broker.go_down()
    async with publisher(broker, retry=RetryPolicy(cart_delivery_timeout=30.0)) as shop:
        outcome = await shop.track_nowait(cart())
    assert outcome.status is OutcomeStatus.EXPIRED
    assert outcome.attempts == 0


@virtual
async def test_everything_flows_again_within_seconds_of_a_connection_that_was_lost() -> None:
    """However long it was away: what is in backoff does not wait for its end."""
    loop = asyncio.get_running_loop()
    broker = MemoryBroker()
    async with publisher(broker) as shop:
        await shop.record(cart())
        broker.go_down()
        receipts = [shop.track_nowait(cart(f"v{number}")) for number in range(100)]
        await asyncio.sleep(300)
        broker.come_back()
        back = loop.time()
        await asyncio.gather(*receipts)
        assert loop.time() - back < 3.0
        balance(shop)


@virtual
async def test_a_full_stream_keeps_events_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """`PUBLISHED` comes as soon as there is room, for all within seconds; it is logged once."""
    caplog.set_level(logging.WARNING)
    loop = asyncio.get_running_loop()
    broker = MemoryBroker()
    broker.is_full = True
    async with publisher(broker) as shop:
        receipts = [shop.track_nowait(cart(f"v{number}")) for number in range(100)]
        await asyncio.sleep(200)
        assert shop.stats().published == 0
        broker.is_full = False
        room = loop.time()
        outcomes = await asyncio.gather(*receipts)
        assert loop.time() - room < 10.0
    assert {one.status for one in outcomes} == {PUBLISHED}
    assert len([one for one in caplog.messages if "full" in one]) == 1


@virtual
async def test_nobody_waits_in_backoff_once_the_broker_takes_events_again() -> None:
    """The first that it takes ends all the others' waiting, however long that was to be."""
    loop = asyncio.get_running_loop()
    broker = MemoryBroker()
    broker.is_full = True
    retry = RetryPolicy(base=500.0, cap=500.0, breaker=BreakerPolicy(min_calls=10_000))
    async with publisher(broker, retry=retry) as shop:
        receipts = [shop.track_nowait(cart(f"v{number}")) for number in range(50)]
        await asyncio.sleep(1)
        waiting = [one for one in receipts if not one.done()]
        assert len(waiting) == 50
        broker.is_full = False
        room = loop.time()
        await shop.record(cart("another"))
        await asyncio.gather(*receipts)
        assert loop.time() - room < 3.0


@virtual
async def test_what_never_fits_is_rejected() -> None:
    """With its size and the bound."""
    async with publisher(TightBroker()) as shop:
        with pytest.raises(DeliveryError) as caught:
            await shop.record(cart())
        detail = str(caught.value.outcome.detail)
    assert caught.value.outcome.status is OutcomeStatus.REJECTED
    assert "100 bytes" in detail or " 100" in detail


class TightBroker(MemoryBroker):
    async def publish(self, parcel: Parcel) -> None:
        from alhena_async.relay import ParcelTooLargeError  # noqa: PLC0415

        raise ParcelTooLargeError(len(parcel.body), 100)


@virtual
async def test_a_close_gives_up_what_cannot_be_published() -> None:
    """Within its timeout, and it is counted."""
    loop = asyncio.get_running_loop()
    broker = MemoryBroker()
    broker.go_down()
    shop = publisher(broker)
    await shop.start()
    shop.track_nowait(cart())
    began = loop.time()
    report = await shop.close(5.0)
    assert 5.0 <= loop.time() - began < 6.0
    assert report.stats.abandoned == 1


@virtual
async def test_a_publisher_that_is_switched_off_connects_nowhere() -> None:
    """`enabled=False` accepts everything."""
    broker = Unreachable()
    async with publisher(broker, enabled=False) as shop:
        assert (await shop.track_nowait(cart())).status is OutcomeStatus.DROPPED


class Unreachable(MemoryBroker):
    def channel(self) -> Any:
        raise AssertionError("nobody is to connect")


@virtual
async def test_a_foreign_failure_is_one_more_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """A broker may raise anything: nobody loses an event for it."""
    broker = Broken()
    async with publisher(broker) as shop:
        assert (await shop.record(cart(), timeout=None)).status is PUBLISHED
    assert any("unforeseen" in one for one in caplog.messages)


@virtual
async def test_a_broker_with_nobody_behind_it_meets_no_storm() -> None:
    """It opens at once and takes nothing, as a stream under other subjects: now and then a try."""
    broker = Hollow()
    async with publisher(broker) as shop:
        receipt = shop.track_nowait(cart())
        await asyncio.sleep(60.0)
        assert 10 < broker.tries <= 130
        broker.is_hollow = False
        assert (await receipt).status is PUBLISHED


class Hollow(MemoryBroker):
    tries = 0
    is_hollow = True

    async def publish(self, parcel: Parcel) -> None:
        self.tries += 1
        await asyncio.sleep(0.01)
        if self.is_hollow:
            raise TransportError("nobody listens", sent=False)
        await super().publish(parcel)


class Broken(MemoryBroker):
    tries = 0

    async def publish(self, parcel: Parcel) -> None:
        self.tries += 1
        if self.tries == 1:
            raise KeyError("x")
        await super().publish(parcel)


@pytest.mark.parametrize(
    "argument",
    [
        {"region": "eu"},
        {"base_url": "http://127.0.0.1:1/"},
        {"http": HttpPolicy()},
        {"transport": MemoryTransport()},
    ],
    ids=lambda one: next(iter(one)),
)
def test_where_events_go_is_the_relays_business(argument: dict[str, Any]) -> None:
    """The error names the argument, and who decides."""
    [name] = argument
    with pytest.raises(TypeError, match=f"{name}.*the relay decides where events go"):
        Publisher("shop", broker=MemoryBroker(), **argument)
    with pytest.raises(TypeError, match=name):
        Publisher.from_env({"ALHENA_BROKER": "nats://a", "ALHENA_COMPANY_KEY": "k"}, **argument)


@pytest.mark.parametrize("broker", [None, 7, MemoryBroker, object()])
def test_a_broker_is_a_broker_or_servers(broker: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(TypeError, match="broker"):
        Publisher("shop", broker=broker)
    with pytest.raises(TypeError, match=r"unexpected.*brocker"):
        Publisher("shop", broker=MemoryBroker(), brocker=1)


def test_the_environment_names_the_broker() -> None:
    """Region and base URL are not read: they say nothing here."""
    shop = Publisher.from_env(
        {
            "ALHENA_COMPANY_KEY": "k",
            "ALHENA_BROKER": "nats://u:secret@a:4222, tls://b",
            "ALHENA_BROKER_PREFIX": "eu",
            "ALHENA_REGION": "nowhere",
            "ALHENA_BASE_URL": "no url",
            "ALHENA_LINGER": "0.25",
        }
    )
    assert shop.base_url == "JetStream EU at nats://a:4222,tls://b:4222"
    assert "secret" not in repr(shop)


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "ALHENA_BROKER"),
        ({"ALHENA_BROKER": "http://x:secret@a"}, "ALHENA_BROKER"),
        ({"ALHENA_BROKER": "nats://a", "ALHENA_BROKER_PREFIX": "A B"}, "ALHENA_BROKER_PREFIX"),
    ],
)
def test_a_bad_variable_is_named(variables: dict[str, str], name: str) -> None:
    """And no password is quoted."""
    with pytest.raises(ValueError, match=f"^{name} ") as caught:
        Publisher.from_env({"ALHENA_COMPANY_KEY": "k", **variables})
    assert "secret" not in str(caught.value)


async def test_a_start_fails_for_what_can_never_work(tmp_path: Path) -> None:
    """A file with credentials that is not there is named."""
    missing = tmp_path / "user.creds"
    shop = Publisher("shop", broker=JetStream("nats://127.0.0.1:1", credentials=missing))
    with pytest.raises(ValueError, match=str(missing)):
        await shop.start()


# --- with a journal ------------------------------------------------------------------------------


class Restart(MemoryBroker):
    """Takes the next parcel in, and never says so."""

    never_answers = False

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Semaphore(0)

    async def publish(self, parcel: Parcel) -> None:
        await super().publish(parcel)
        if self.never_answers:
            self.heard.release()
            await asyncio.get_running_loop().create_future()


async def test_an_event_keeps_its_id_over_a_restart(tmp_path: Path) -> None:
    """The broker had it, the answer was lost with the process: it has it once."""
    broker = Restart()
    broker.never_answers = True
    first = publisher(broker, journal=tmp_path)
    await first.start()
    for event in (cart(), checkout(), checkout("w", order_id=None)):
        await first.track(event)
    for _ in range(2):
        await broker.heard.acquire()
    report = await first.close(0.0)
    assert report.stats.kept == 3
    broker.never_answers = False
    async with publisher(broker, journal=tmp_path) as second:
        await second.flush()
        stats = second.stats()
    assert (stats.replayed, stats.published) == (3, 3)
    assert len(broker.published) == 3
    order_ids = [one.order_id for one in messages(broker) if one.order_id is not None]
    assert len(set(order_ids)) == 2


async def test_it_keeps_its_id_over_two_restarts(tmp_path: Path) -> None:
    """Whoever adopts the file, and dies too, changes nothing."""
    broker = Restart()
    broker.never_answers = True
    for _ in range(3):
        shop = publisher(broker, journal=tmp_path)
        await shop.start()
        if not broker.published:
            await shop.track(cart())
        await broker.heard.acquire()
        await shop.close(0.0)
    assert len(broker.published) == 1


async def test_nobody_else_adopts_a_publishers_file(tmp_path: Path) -> None:
    """Nor does a publisher take what a client left: each file names where it goes."""
    broker, api = MemoryBroker(), MemoryTransport()
    broker.go_down()
    api.fail(times=None)
    shop = publisher(broker, journal=tmp_path)
    direct = AlhenaClient("shop", transport=api, journal=tmp_path)
    for one, event in ((shop, cart(product="published")), (direct, cart(product="sent"))):
        await one.start()
        await one.track(event)
        await one.close(0.0)
    broker.come_back()
    api.recover()
    async with publisher(broker, journal=tmp_path) as one:
        await one.flush()
    async with AlhenaClient("shop", transport=api, journal=tmp_path) as two:
        await two.flush()
    assert products(broker) == ["published"]
    assert {one.payload["product_id"] for one in api.sent} == {"sent"}
