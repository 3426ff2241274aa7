"""Other vendors' analytics clients, each taking the same event.

`enqueuers` are set up so that nothing is ever sent, as ours is: what is timed is the call that a
request handler would make. `senders` send one request per event, as many at once as they can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from benchmarks.shop import fields

__all__ = ["ENQUEUERS", "SENDERS"]

Enqueue = Callable[[str, str], object]
"""Takes a visitor and a product id."""


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
    return lambda visitor, product: client.capture(
        "ITEM_ADDED", distinct_id=visitor, properties=fields(visitor, product)
    )


ENQUEUERS: dict[str, tuple[str, Callable[[int], Enqueue]]] = {
    "Mixpanel": ("mixpanel", _mixpanel),
    "Snowplow": ("snowplow-tracker", _snowplow),
    "Segment": ("segment-analytics-python", _segment),
    "PostHog": ("posthog", _posthog),
}
"""Name to distribution and to what makes the call, given room for so many events."""


def _send_mixpanel(url: str, count: int) -> None:
    from mixpanel import Consumer, Mixpanel

    consumer = Consumer(events_url=f"{url}track")
    client = Mixpanel("token", consumer=consumer)
    for number in range(count):
        client.track("visitor", "ITEM_ADDED", fields("visitor", f"sku-{number}"))


def _send_snowplow(url: str, count: int) -> None:
    from snowplow_tracker import AsyncEmitter, Subject, Tracker

    done = threading.Semaphore(0)
    emitter = AsyncEmitter(
        url.removeprefix("http://").rstrip("/"),
        protocol="http",
        batch_size=1,
        thread_count=32,
        on_success=lambda events: done.release(),
    )
    enqueue = _snowplow_track(Tracker("bench", emitters=emitter), Subject)
    for number in range(count):
        enqueue("visitor", f"sku-{number}")
    for _ in range(count):
        assert done.acquire(timeout=60)


def _send_segment(url: str, count: int) -> None:
    from segment.analytics.client import Client

    client = Client(
        "key", host=url.rstrip("/"), max_queue_size=count, upload_size=1, thread=32, gzip=False
    )
    for number in range(count):
        client.track("visitor", "ITEM_ADDED", fields("visitor", f"sku-{number}"))
    client.flush()
    client.join()


def _send_posthog(url: str, count: int) -> None:
    from posthog import Posthog

    client = Posthog("key", host=url.rstrip("/"), max_queue_size=count, flush_at=1, thread=32)
    for number in range(count):
        client.capture(
            "ITEM_ADDED", distinct_id="visitor", properties=fields("visitor", f"sku-{number}")
        )
    client.shutdown()


SENDERS: dict[str, tuple[str, Callable[[str, int], None]]] = {
    "Mixpanel": ("mixpanel", _send_mixpanel),
    "Snowplow": ("snowplow-tracker", _send_snowplow),
    "Segment": ("segment-analytics-python", _send_segment),
    "PostHog": ("posthog", _send_posthog),
}
"""Name to distribution and to what sends so many events to a sink, one request each."""
