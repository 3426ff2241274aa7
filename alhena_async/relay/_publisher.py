"""The client with a broker where HTTP was: it publishes, and a relay delivers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

from alhena_async._config import Route, arguments_from
from alhena_async._delivery.preparation import BeforeSend
from alhena_async._queue.envelope import Envelope
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry.telemetry import log_foreign
from alhena_async._variables import VARIABLES, variables_in
from alhena_async._wire import lane_digest
from alhena_async.client import AlhenaClient
from alhena_async.journal import Journal
from alhena_async.observers import Observer
from alhena_async.policies import Coalescing, CoalescingName, HttpPolicy, QueuePolicy, RetryPolicy
from alhena_async.relay._brokers import broker_at, is_database
from alhena_async.relay._jetstream import JetStream
from alhena_async.relay._message import Message, encode
from alhena_async.relay._postgres import Postgres
from alhena_async.relay._seam import Broker, Channel, Parcel, ParcelTooLargeError
from alhena_async.transports import TransportError

__all__ = ["Publisher"]

_LINGER: Final = 0.0

_PUBLISH_TIMEOUT: Final = 5.0  # seconds for the broker's answer

_OPEN_TIMEOUT: Final = 10.0  # seconds for one try to connect

_SECONDS_BETWEEN_TRIES: Final = 0.5

_NOT_HERE: Final = ("region", "base_url", "http", "transport")


class Publisher(AlhenaClient):
    """Hands events to a broker that the shop runs, from which relays deliver them.

    It is an `AlhenaClient`, and everything else is as there: what the broker has taken durably
    ends as `PUBLISHED`. Of one visitor one event is on its way at a time, so that the broker gets
    them in order; each keeps one id over all attempts, so that none stands there twice.

    Starting it never waits for the broker. While there is none, or it has no room, events wait
    (in memory, or in the journal) as for an API that is down, until their own deadlines.

    It does not linger unless its `queue` says how long: while an event waits here, another process
    may publish a later one of the same visitor.

    Args:
        company_key: The organisation's public key.
        broker: A `Broker`; or as text the servers of a `JetStream`, as in
            `"nats://a:4222,nats://b:4222"`, or the URL of a `Postgres`.
        queue: Room, linger (here by default 0), events on their way at once.
        retry: What is tried again, and for how long.
        coalescing: Which waiting events fold; only while they wait. Default `LATEST`.
        journal: A directory, or a `SQLiteJournal`: keeps events until the broker has them. Only a
            publisher to the same stream takes over what a dead one left in it.
        observers: Each is told of everything that happens.
        before_send: Called with each event as it is accepted; see `AlhenaClient`.
        enabled: False accepts everything and publishes nothing.
        **refused: None of them can be given: `region`, `base_url`, `http` and `transport` are the
            relay's business.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(
        self,
        company_key: str,
        *,
        broker: Broker | str,
        queue: QueuePolicy | None = None,
        retry: RetryPolicy | None = None,
        coalescing: Coalescing | CoalescingName = Coalescing.LATEST,
        journal: Journal | str | os.PathLike[str] | None = None,
        observers: Sequence[Observer] = (),
        before_send: BeforeSend | None = None,
        enabled: bool = True,
        **refused: Any,
    ) -> None:
        _refuse(refused)
        broker = _checked_broker(broker)
        route = Route(
            transport=BrokerTransport(broker, enabled=enabled),
            destination=_name_of(broker),
            name=str(broker),
            linger=_LINGER,
            http=HttpPolicy(request_timeout=_PUBLISH_TIMEOUT),
        )
        self._assemble(
            company_key,
            route,
            queue=queue,
            retry=retry,
            coalescing=coalescing,
            journal=journal,
            observers=observers,
            before_send=before_send,
            enabled=enabled,
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Self:
        """Make a publisher from `ALHENA_*` variables.

        `ALHENA_BROKER` (servers; required), `ALHENA_BROKER_PREFIX`, `ALHENA_BROKER_CREDENTIALS` (a
        file), and those of `AlhenaClient.from_env` but for `ALHENA_REGION`, `ALHENA_BASE_URL` and
        those of `HttpPolicy`, which say nothing here: the relay decides where events go, and how.

        Args:
            environ: Where to look; None (default) looks in the process's environment.
            **arguments: Constructor arguments; see `AlhenaClient.from_env`.

        Raises:
            ValueError: A variable is missing or cannot be read; the message names it.
        """
        environ = os.environ if environ is None else environ
        _refuse({name: arguments[name] for name in _NOT_HERE if name in arguments})
        if "broker" not in arguments:
            arguments["broker"] = _broker_from(variables_in(environ))
        unread = {one.name for one in VARIABLES if one.argument in _NOT_HERE}
        read = {name: text for name, text in environ.items() if name not in unread}
        return cls(**arguments_from(read, arguments))


def _refuse(arguments: Mapping[str, object]) -> None:
    for name in arguments:
        if name in _NOT_HERE:
            raise TypeError(
                f"Publisher takes no {name}: the relay decides where events go, and how"
            )
        raise TypeError(f"Publisher got an unexpected keyword argument {name!r}")


def _checked_broker(broker: Broker | str) -> Broker:
    if isinstance(broker, str):
        return broker_at(broker)
    if isinstance(broker, type) or not all(
        callable(getattr(broker, name, None)) for name in ("channel", "source")
    ):
        name = type(broker).__name__
        raise TypeError(f"broker must be a Broker, or servers as text, not {name}")
    return broker


def _broker_from(variables: Mapping[str, str]) -> Broker:
    servers = variables.get("ALHENA_BROKER")
    if servers is None:
        raise ValueError("ALHENA_BROKER is not set: the broker's servers, as in nats://host:4222")
    if is_database(servers):
        return Postgres(servers, schema=variables.get("ALHENA_BROKER_SCHEMA"))
    prefix = variables.get("ALHENA_BROKER_PREFIX", "alhena")
    try:
        return JetStream(
            servers, prefix=prefix, credentials=variables.get("ALHENA_BROKER_CREDENTIALS")
        )
    except ValueError as error:
        name = "ALHENA_BROKER_PREFIX" if "prefix" in str(error) else "ALHENA_BROKER"
        raise ValueError(f"{name} cannot work: {error}") from None


def _name_of(broker: Broker) -> str:
    """Return what a journal names as its destination."""
    return str(getattr(broker, "name", f"broker:{type(broker).__name__}"))


class BrokerTransport:
    """Publishes envelopes over a broker's channel: a `Carrier`.

    Args:
        broker: Makes the channel.
        enabled: False never connects.
    """

    def __init__(self, broker: Broker, *, enabled: bool) -> None:
        self._broker = broker
        self._enabled = enabled
        self._channel: Channel | None = None
        self._lost = asyncio.Event()
        self.is_open = False
        """Whether the channel was opened, and no publish has found it closed since."""

    async def open(self) -> None:
        """Make the channel; nothing is connected yet.

        Raises:
            ValueError: It can never work.
        """
        if self._enabled:
            self._channel = self._broker.channel()

    async def keep_open(self, on_change: Callable[[Verdict | None], None]) -> None:
        """See `Carrier`."""
        loop = asyncio.get_running_loop()
        while self._channel is not None:
            tried_at = loop.time()
            failed = await _tried(self._channel)
            self.is_open = failed is None
            self._lost.clear()
            on_change(failed)
            if failed is None:
                await self._lost.wait()
            # Also after one that was open: it may open at once, and have nobody behind it.
            await asyncio.sleep(tried_at + _SECONDS_BETWEEN_TRIES - loop.time())

    async def carry(self, envelope: Envelope, identity: str) -> Verdict:
        """See `Carrier`."""
        assert self._channel is not None  # noqa: S101  nothing is sent otherwise
        try:
            parcel = _parcel_of(envelope, identity)
        except Exception as error:  # noqa: BLE001  ours is the fault: the event ends, its lane goes on
            log_foreign(f"a {type(envelope.event).__name__} could not be encoded", error)
            detail = f"could not be encoded: {type(error).__name__}"
            return Verdict(kind=VerdictKind.REFUSED, detail=detail)
        try:
            await self._channel.publish(parcel)
        except ParcelTooLargeError as error:
            return Verdict(kind=VerdictKind.REFUSED, detail=str(error))
        except TransportError as error:
            if not error.sent:
                self.is_open = False
                self._lost.set()
            return _failed(error)
        return _PUBLISHED

    async def close(self) -> None:
        """See `Carrier`."""
        self.is_open = False
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()


_PUBLISHED: Final = Verdict(kind=VerdictKind.PUBLISHED)


async def _tried(channel: Channel) -> Verdict | None:
    """Open a channel; return why it failed, if it did."""
    try:
        async with asyncio.timeout(_OPEN_TIMEOUT):
            await channel.open()
    except TransportError as error:
        return _failed(error)
    except TimeoutError:
        return Verdict(kind=VerdictKind.TRANSIENT, detail="no connection in time")
    except Exception as error:  # noqa: BLE001  foreign
        log_foreign("the broker failed in an unforeseen way", error)
        return Verdict(kind=VerdictKind.TRANSIENT, detail=f"it raised {type(error).__name__}")
    return None


def _failed(error: TransportError) -> Verdict:
    """Not ambiguous, sent or not: the id makes a repeat safe."""
    return Verdict(kind=VerdictKind.TRANSIENT, detail=str(error), is_local=not error.sent)


def _parcel_of(envelope: Envelope, identity: str) -> Parcel:
    event, key = envelope.event, envelope.lane.company_key
    age = asyncio.get_running_loop().time() - envelope.accepted_at
    message = Message(
        company_key=key, order_id=envelope.order_id, accepted_at=time.time() - age, event=event
    )
    return Parcel(id=identity, lane=lane_digest(event.visitor, key), body=encode(message))
