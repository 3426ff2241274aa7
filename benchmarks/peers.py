"""Other vendors' analytics clients, each taking the same event.

`ENQUEUERS` are set up so that nothing is ever sent, as ours is: what is timed is the call that a
request handler would make. `SENDERS` send one request per event, as many at once as they can.
`BATCHING` says who cannot do that, and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.loops import Send
from benchmarks.shop import fields
from benchmarks.sink import Sink

__all__ = ["BATCHING", "ENQUEUERS", "PRODUCE", "SENDERS", "posthog_loop"]

PRODUCE = "confluent-kafka's produce"
Enqueue = Callable[[str, str], object]
"""Takes a visitor and a product id."""
SendAll = Callable[[int], None]
"""Sends so many events, and returns when they are answered."""


def _mixpanel(room: int) -> Enqueue:
    from mixpanel import BufferedConsumer, Mixpanel

    buffered = BufferedConsumer(max_size=50)
    buffered._max_size = room  # noqa: SLF001  its public bound is 50: it would send
    track = Mixpanel("token", consumer=buffered).track
    return lambda visitor, product: track(visitor, "ITEM_ADDED", fields(visitor, product))


def _snowplow(room: int) -> Enqueue:
    from snowplow_tracker import Emitter, Subject, Tracker

    emitter = Emitter("127.0.0.1:9", protocol="http", batch_size=room, buffer_capacity=room)
    return _snowplow_track(Tracker("bench", emitters=emitter), Subject)


def _snowplow_track(tracker: Any, make_subject: Any) -> Enqueue:
    from snowplow_tracker import SelfDescribing, SelfDescribingJson

    def enqueue(visitor: str, product: str) -> object:
        described = SelfDescribingJson(
            "iglu:bench/item_added/jsonschema/1-0-0", fields("", product)
        )
        subject = make_subject().set_user_id(visitor)
        return tracker.track(SelfDescribing(described, event_subject=subject))

    return enqueue


def _segment(room: int) -> Enqueue:
    from segment.analytics.client import Client

    client = Client("key", max_queue_size=room, thread=0)  # no thread: nothing is sent
    return lambda visitor, product: client.track(visitor, "ITEM_ADDED", fields(visitor, product))


def _posthog(room: int) -> Enqueue:
    from posthog import Posthog

    client = Posthog("key", host="http://127.0.0.1:9", max_queue_size=room, thread=0)
    return _posthog_capture(client)


def _async_posthog(room: int) -> Enqueue:
    from posthog import AsyncPosthog

    client = AsyncPosthog("key", host="http://127.0.0.1:9", max_queue_size=room)
    return _posthog_capture(client)  # its tasks wait for the loop, which is busy


def _posthog_capture(client: Any) -> Enqueue:
    return lambda visitor, product: client.capture(
        "ITEM_ADDED", distinct_id=visitor, properties=fields(visitor, product)
    )


def _produce(room: int) -> Enqueue:
    """All of the event's fields as JSON, keyed by visitor, with a delivery report; no broker."""
    from confluent_kafka import Producer
    from orjson import dumps

    settings = {
        "bootstrap.servers": "127.0.0.1:9",
        "queue.buffering.max.messages": room,
        "log_level": 0,
    }
    produce = Producer(settings).produce

    def enqueue(visitor: str, product: str) -> object:
        event = {
            "type": "ITEM_ADDED",
            "user_fingerprint": visitor,
            "faq_fingerprint": visitor,
            "product_id": product,
            "product_name": "Stoneware mug",
            "value": 9.5,
            "currency": "EUR",
            "quantity": 1,
        }
        return produce("cart", dumps(event), visitor, on_delivery=_reported)

    return enqueue


def _reported(error: object, message: object) -> None:
    """What a delivery report is given to."""


def _statsig(room: int) -> Enqueue:
    from statsig_python_core import Statsig, StatsigOptions, StatsigUser

    options = StatsigOptions(
        disable_network=True, event_logging_max_queue_size=2_000, output_log_level="none"
    )
    client = Statsig("secret-key", options)

    def enqueue(visitor: str, product: str) -> object:
        metadata = {name: str(value) for name, value in fields(visitor, product).items()}
        return client.log_event(StatsigUser(visitor), "ITEM_ADDED", metadata=metadata)

    return enqueue


ENQUEUERS: dict[str, tuple[str, Callable[[int], Enqueue]]] = {
    PRODUCE: ("confluent-kafka", _produce),
    "statsig's core": ("statsig-python-core", _statsig),
    "Mixpanel": ("mixpanel", _mixpanel),
    "Snowplow": ("snowplow-tracker", _snowplow),
    "Segment": ("segment-analytics-python", _segment),
    "PostHog": ("posthog", _posthog),
    "AsyncPosthog": ("posthog", _async_posthog),
}
"""Name to distribution and to what makes the call, given room for so many events."""


@contextlib.contextmanager
def _send_mixpanel(sink: Sink) -> Iterator[SendAll]:
    from mixpanel import Consumer, Mixpanel

    client = Mixpanel("token", consumer=Consumer(events_url=f"{sink.url}track"))

    def send(count: int) -> None:
        for number in range(count):
            client.track("visitor", "ITEM_ADDED", fields("visitor", f"sku-{number}"))

    yield send


@contextlib.contextmanager
def _send_snowplow(sink: Sink) -> Iterator[SendAll]:
    from snowplow_tracker import AsyncEmitter, Subject, Tracker

    done = threading.Semaphore(0)
    emitter = AsyncEmitter(
        sink.address,
        protocol=sink.scheme,
        batch_size=1,
        thread_count=32,
        on_success=lambda events: done.release(),
    )
    enqueue = _snowplow_track(Tracker("bench", emitters=emitter), Subject)

    def send(count: int) -> None:
        for number in range(count):
            enqueue("visitor", f"sku-{number}")
        for _ in range(count):
            assert done.acquire(timeout=60)

    yield send


@contextlib.contextmanager
def _send_segment(sink: Sink) -> Iterator[SendAll]:
    from segment.analytics.client import Client

    client = Client(
        "key",
        host=sink.url.rstrip("/"),
        max_queue_size=10_000,
        upload_size=1,
        thread=32,
        gzip=False,
    )

    def send(count: int) -> None:
        for number in range(count):
            client.track("visitor", "ITEM_ADDED", fields("visitor", f"sku-{number}"))
        client.flush()

    yield send
    client.join()


@contextlib.contextmanager
def _send_posthog(sink: Sink) -> Iterator[SendAll]:
    from posthog import Posthog

    client = Posthog("key", host=sink.url.rstrip("/"), flush_at=1, thread=32)
    capture = _posthog_capture(client)

    def send(count: int) -> None:
        for number in range(count):
            capture("visitor", f"sku-{number}")
        client.flush()

    yield send
    client.shutdown()


SENDERS: dict[str, tuple[str, Callable[[Sink], AbstractContextManager[SendAll]]]] = {
    "Mixpanel": ("mixpanel", _send_mixpanel),
    "Snowplow": ("snowplow-tracker", _send_snowplow),
    "Segment": ("segment-analytics-python", _send_segment),
    "PostHog": ("posthog", _send_posthog),
}
"""Name to distribution and to what sends so many events to a sink, one request each."""


@contextlib.asynccontextmanager
async def posthog_loop(sink: Sink, people: list[str], at_once: int) -> AsyncIterator[Send]:
    """Send with PostHog's client for asyncio, one request per event."""
    from posthog import AsyncPosthog

    client = AsyncPosthog("key", host=sink.url.rstrip("/"), flush_at=1, thread=at_once)
    capture = _posthog_capture(client)

    async def send(count: int) -> None:
        for number in range(count):
            capture(people[number % len(people)], f"sku-{number}")
            if number % 100 == 0:
                await asyncio.sleep(0)
        await client.flush(timeout_seconds=None)

    yield send
    await client.shutdown()


BATCHING = {
    PRODUCE: "it sends batches to a Kafka broker, and nothing over HTTP",
    "statsig's core": "it sends batches of 10 events and more, and never an event alone",
}
"""Name to why it cannot send one request per event."""
