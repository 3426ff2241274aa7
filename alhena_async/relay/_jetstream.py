"""NATS JetStream as a broker: a work-queue stream in partitions, one event of each out at a time.

What stands on the server is said in `_topology.py`; here it is read, published to and taken from.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import ssl as ssl_module
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import attrs

from alhena_async.relay import _topology
from alhena_async.relay._clock import now
from alhena_async.relay._letter import shortened
from alhena_async.relay._seam import Lease, LeaseLost, Parcel
from alhena_async.relay._topology import Topology, TopologyError, checked_prefix
from alhena_async.transports import TransportError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from alhena_async.relay._connection import Connection, Server

__all__ = ["JetStream"]

_log = logging.getLogger("alhena_async")

_PORT: Final = 4222

_PUBLISH_TIMEOUT: Final = 5.0  # seconds; the caller may have less

_PULL_SECONDS: Final = 30.0  # how long a pull waits at the server for an event to come

_PULL_GRACE: Final = 5.0  # seconds after which a pull without an end counts as lost

_BEAT: Final = 1 / 20
"""The share of a lease after which the server is asked again how long ago it certainly spoke."""

_SECONDS_BETWEEN_LOOKS: Final = 10.0
"""Seconds after which a source sees whether the topology is still the one that it works by."""

_FRESH: Final = 0.85
"""The share of a lease that is to go, of what is handed out."""

_GIVE_BACK_TIMEOUT: Final = 1.0  # seconds

_CONSUMERS_AT_ONCE: Final = 16


class JetStream:
    """A stream on NATS servers that `alhena relay init` made: a `Broker`. Extra: `nats`.

    Making one connects nothing. Names and passwords may stand in a server's URL; they are in no
    `repr`, no log line and no error.

    Args:
        servers: `"nats://a:4222,nats://b:4222"`, or a list of such; `tls://` says nothing in the
            clear.
        prefix: Names streams and subjects; two destinations want two. Default "alhena".
        credentials: A file with a user's JWT and seed.
        nkey_seed: A file with a seed.
        user: A name, with `password`.
        password: Of `user`.
        token: Instead of a name.
        ssl: A context of your own, for a private CA.

    Raises:
        ValueError, TypeError: An argument cannot work; the message names it.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        prefix: str = "alhena",
        credentials: str | os.PathLike[str] | None = None,
        nkey_seed: str | os.PathLike[str] | None = None,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        if ssl is not None and not isinstance(ssl, ssl_module.SSLContext):
            raise TypeError(f"ssl must be an SSLContext, not {type(ssl).__name__}")
        self.prefix: str = checked_prefix(prefix)
        self._addresses = [_Address.of(text) for text in _listed(servers)]
        if not self._addresses:
            raise ValueError("servers must name at least one server: nats://host:4222")
        self._login = {
            "credentials": None if credentials is None else os.fspath(credentials),
            "nkey_seed": None if nkey_seed is None else os.fspath(nkey_seed),
            "user": user,
            "password": password,
            "token": token,
        }
        self._ssl = ssl

    @property
    def name(self) -> str:
        """What names the queue: the same for every list of servers, as that may grow."""
        return f"jetstream:{_topology.stream_name(self.prefix)}"

    def channel(self) -> JetStreamChannel:
        """See `Broker`."""
        return JetStreamChannel(self.dialler())

    def source(self) -> JetStreamSource:
        """See `Broker`."""
        return JetStreamSource(self.dialler())

    def __str__(self) -> str:
        at = ",".join(address.url for address in self._addresses)
        return f"JetStream {_topology.stream_name(self.prefix)} at {at}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def dialler(self) -> Dialler:
        """Return what connects, and reads what stands there.

        Raises:
            ValueError: A file with credentials cannot be read.
            ModuleNotFoundError: The extra is not installed.
        """
        try:
            from alhena_async.relay._connection import Credentials, Server  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error}: a broker on NATS needs the extra: pip install 'alhena-async[nats]'",
                name=error.name,
            ) from None
        for argument in ("credentials", "nkey_seed"):
            _check_readable(argument, self._login[argument])
        servers = [
            Server(
                url=one.url,
                login=Credentials(**{**self._login, **one.login}),
            )
            for one in self._addresses
        ]
        return Dialler(self.prefix, servers, self._ssl)


def _check_readable(argument: str, path: str | None) -> None:
    if path is None:
        return
    try:
        with open(path, "rb"):  # noqa: PTH123
            pass
    except OSError as error:
        raise ValueError(f"{argument}: {path} cannot be read ({error.strerror})") from None


def _listed(servers: str | Sequence[str]) -> list[str]:
    given = [servers] if isinstance(servers, str) else list(servers)
    if not all(isinstance(one, str) for one in given):
        raise TypeError("servers must be text, or a list of texts")
    return [part.strip() for one in given for part in one.split(",") if part.strip()]


@attrs.frozen
class _Address:
    """A server's URL in two: where it is, and who logs in."""

    url: str
    login: dict[str, str] = attrs.field(repr=False)

    @classmethod
    def of(cls, text: str) -> _Address:
        """Read one; an error quotes nothing of it, as it may hold a password.

        Raises:
            ValueError: It is no URL of a NATS server.
        """
        wanted = "servers must be URLs such as nats://host:4222 or tls://host:4222"
        try:
            parts = urlsplit(text if "//" in text else f"nats://{text}")
            port = parts.port or _PORT
        except ValueError:
            raise ValueError(wanted) from None
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ValueError(wanted)
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{wanted}, with nothing behind the port")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if not re.fullmatch(r"[\w.:\[\]%-]+", host):
            raise ValueError(wanted)
        return cls(f"{parts.scheme}://{host}:{port}", _login_of(parts.username, parts.password))


def _login_of(username: str | None, password: str | None) -> dict[str, str]:
    if username is None:
        return {}
    if password is None:
        return {"token": unquote(username)}
    return {"user": unquote(username), "password": unquote(password)}


class Dialler:
    """Connects to any of the servers, and reads what stands there.

    Args:
        prefix: Names the streams.
        servers: In no order.
        tls: A context of the user's own.
    """

    def __init__(
        self, prefix: str, servers: Sequence[Server], tls: ssl_module.SSLContext | None
    ) -> None:
        self.prefix = prefix
        self._servers = list(servers)
        self._tls = tls

    async def connect(self) -> Connection:
        """Return a connection to the first server that answers.

        Raises:
            TransportError: None does.
        """
        from alhena_async.relay._connection import connect  # noqa: PLC0415

        failed = TransportError("no server", sent=False)
        for server in random.sample(self._servers, len(self._servers)):
            try:
                return await connect(server, self._tls)
            except TransportError as error:
                failed = error
        raise failed

    async def read(self, connection: Connection) -> Topology:
        """Return the topology that stands.

        Raises:
            TransportError: There is none that can be used now; the message says what to do.
        """
        said = await connection.stream(_topology.stream_name(self.prefix))
        try:
            if said is None:
                raise _topology.missing(self.prefix)
            return _topology.read(self.prefix, said["config"])
        except TopologyError as error:
            raise TransportError(str(error), sent=False) from error


class _Opened:
    """What channel and source have in common: a connection, and the topology behind it."""

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler
        self._connection: Connection | None = None
        self._topology: Topology | None = None

    async def open(self) -> None:
        """See `Channel`, `Source`."""
        connection = self._connection
        if connection is None or connection.is_lost:
            await self.close()
            connection = self._connection = await self._dialler.connect()
        if self._topology is None:
            self._topology = await self._dialler.read(connection)

    async def close(self) -> None:
        """See `Channel`, `Source`."""
        connection, self._connection, self._topology = self._connection, None, None
        if connection is not None:
            await connection.close()

    def _ready(self) -> tuple[Connection, Topology]:
        if self._connection is None or self._connection.is_lost or self._topology is None:
            raise TransportError("no connection to the broker", sent=False)
        return self._connection, self._topology


class JetStreamChannel(_Opened):
    """Publishes to the stream: a `Channel`."""

    async def publish(self, parcel: Parcel) -> None:
        """See `Channel`."""
        from alhena_async.relay._connection import (  # noqa: PLC0415
            ApiError,
            NoResponders,
            reply_of,
        )

        connection, topology = self._ready()
        subject = topology.subject_of(topology.partition_of(parcel.lane))
        try:
            async with asyncio.timeout(_PUBLISH_TIMEOUT):
                message = await connection.request(
                    subject,
                    parcel.body,
                    headers={"Nats-Msg-Id": parcel.id, "Nats-Expected-Stream": topology.stream},
                )
            reply_of(message)
        except NoResponders:
            # No leader, no stream, or another number of partitions by now: look again.
            self._topology = None
            raise
        except ApiError as error:  # full, or no leader: it may be well in a moment
            raise TransportError(str(error)) from error
        except TimeoutError:
            raise TransportError("the broker did not answer in time") from None


@attrs.define(eq=False)
class _Token:
    """What the server knows a lease by."""

    partition: int
    reply: str
    """Where to acknowledge."""
    until: float
    """When it ends at the earliest, by `now`."""
    is_over: bool = False
    """Its partition's next event was asked for."""


class JetStreamSource(_Opened):
    """Takes from the stream's consumers: a `Source`.

    One pull stands at each partition's consumer, for one event. What comes is kept for the next
    `take`.

    A lease begins as the server hands an event out, and that may be long ago where this process
    stood still, or the network did. What is heard was sent after the last answered ping, so that
    lease is counted from when that ping was sent.
    """

    def __init__(self, dialler: Dialler) -> None:
        super().__init__(dialler)
        self._inbox = ""
        self._answered_at = 0.0
        """When the last ping was sent that was answered, by `now`."""
        self._watching: list[asyncio.Task[None]] = []
        self._withdrawing: asyncio.Task[None] | None = None
        self._arrived: deque[Lease] = deque()
        self._news = asyncio.Event()
        self._pulled: dict[int, float] = {}
        """When the pull at a partition ends by itself."""
        self._resting: deque[int] = deque()
        """Partitions without a pull, whose next event may be asked for."""
        self._lacking: set[int] = set()
        """Partitions whose consumer is not there."""

    @property
    def lease(self) -> float:
        """See `Source`."""
        return self._ready()[1].lease

    @property
    def destination(self) -> str:
        """See `Source`."""
        return self._ready()[1].destination

    async def open(self) -> None:
        """See `Source`."""
        await super().open()
        connection, topology = self._ready()
        if not self._watching:
            asked = now()
            await connection.ping()
            self._answered_at = asked
            beat = self._beat(connection, topology.lease * _BEAT)
            self._watching = [
                asyncio.create_task(beat, name="alhena-relay-beat"),
                asyncio.create_task(self._look(connection, topology), name="alhena-relay-look"),
            ]
            connection.lost.add_done_callback(lambda _: self._news.set())
            await self._join()

    async def close(self) -> None:
        """See `Source`."""
        self._withdraw()
        withdrawing, self._withdrawing = self._withdrawing, None
        if withdrawing is not None:
            await asyncio.wait({withdrawing})
        watching, self._watching = self._watching, []
        for task in watching:
            task.cancel()
        if watching:
            await asyncio.wait(watching)
        self._lacking.clear()
        await super().close()

    async def _join(self) -> None:
        """Let every partition's next event be asked for."""
        connection, topology = self._ready()
        self._inbox = await connection.subscribe(self._on_message)
        partitions = list(range(topology.partitions))
        random.shuffle(partitions)
        self._resting.extend(partitions)

    def _withdraw(self) -> None:
        """Take nothing more: what this source asked for is the others' at once."""
        inbox, self._inbox = self._inbox, ""
        if inbox:
            self._withdrawing = asyncio.create_task(
                self._leave(inbox), name="alhena-relay-withdraw"
            )

    async def _leave(self, inbox: str) -> None:
        try:
            await self._ready()[0].unsubscribe(inbox)
        except TransportError:
            _log.debug("alhena: the broker did not hear that nothing more is taken")
        await self._give_back_arrived()
        self._arrived.clear()
        self._pulled.clear()
        self._resting.clear()

    async def _beat(self, connection: Connection, every: float) -> None:
        """Ask again and again; a server that does not answer is lost."""
        try:
            while True:
                await asyncio.sleep(every)
                asked = now()
                await connection.ping()
                self._answered_at = asked
        except TransportError:
            connection.fail()

    async def _look(self, connection: Connection, topology: Topology) -> None:
        """Begin anew once the topology is another one, or is gone."""
        while not connection.is_lost:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            if not await self._stands(connection, topology):
                connection.fail()

    async def _stands(self, connection: Connection, topology: Topology) -> bool:
        """Return whether the topology is what it was, as far as the server says anything."""
        try:
            return await self._dialler.read(connection) == topology
        except TransportError as error:
            return not isinstance(error.__cause__, TopologyError)

    # --- taking --------------------------------------------------------------------------------

    async def take(self, room: int) -> list[Lease]:
        """See `Source`.

        Cancelled, it withdraws what it asked for: whoever takes no more, as it ends, must not be
        handed what another could have at once.
        """
        if self._withdrawing is not None:
            await asyncio.wait({self._withdrawing})
            self._withdrawing = None
            await self._join()
        try:
            while True:
                await self._pull(room)
                taken = [lease for lease in self._taken(room) if await self._is_fresh(lease)]
                if taken:
                    return taken
                await self._wait_for_news()
        except asyncio.CancelledError:
            self._withdraw()
            raise

    async def _wait_for_news(self) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(self._rest()):
                await self._news.wait()
        except TimeoutError:
            return

    def _taken(self, room: int) -> Iterator[Lease]:
        while self._arrived and room > 0:
            lease = self._arrived.popleft()
            token = _token(lease)
            if token.until <= now():  # nobody took it in time: it comes again
                self._end(token)
            else:
                room -= 1
                yield lease

    async def _is_fresh(self, lease: Lease) -> bool:
        """Return whether most of a lease is to go; of one that was not taken at once, see to it."""
        whole = self.lease
        if _token(lease).until - now() > _FRESH * whole:
            return True
        try:
            await self.extend([lease])
        except LeaseLost:
            return False
        return True

    async def _pull(self, room: int) -> None:
        """Ask for the next event of partitions at rest, as far as there is room."""
        connection, topology = self._ready()
        at = now()
        for partition in [one for one, until in self._pulled.items() if until <= at]:
            del self._pulled[partition]
            self._resting.append(partition)
        await self._make_lacking(connection, topology)
        while self._resting and len(self._arrived) < room:
            partition = self._resting.popleft()
            self._pulled[partition] = at + _PULL_SECONDS + _PULL_GRACE
            await connection.send(
                f"$JS.API.CONSUMER.MSG.NEXT.{topology.stream}.{topology.consumer_of(partition)}",
                b'{"batch":1,"expires":%d}' % round(_PULL_SECONDS * 1e9),
                reply=f"{self._inbox}.{partition}",
            )

    async def _make_lacking(self, connection: Connection, topology: Topology) -> None:
        """Make the consumers that are not there, some at once: several servers take their time.

        Raises:
            TransportError: One could not be made.
        """
        lacking = sorted(self._lacking)
        if lacking and not await self._stands(connection, topology):
            raise TransportError("what stands at the broker was changed", sent=False)
        for start in range(0, len(lacking), _CONSUMERS_AT_ONCE):
            some = lacking[start : start + _CONSUMERS_AT_ONCE]
            requests = [_topology.consumer_request(topology, partition) for partition in some]
            await asyncio.gather(*(connection.api(one.subject, one.payload) for one in requests))
            self._lacking.difference_update(some)

    def _rest(self) -> float:
        """Return how long nothing is to be done unless something comes."""
        return max(0.05, min(self._pulled.values(), default=now() + 1.0) - now())

    async def _on_message(self, message: Msg) -> None:
        _connection, topology = self._ready()
        if not message.reply:
            self._on_status(message)
            return
        meta = message.metadata
        # A pulled message carries its own subject and not the pull's inbox.
        partition = int(message.subject.rpartition(".")[2])
        self._pulled.pop(partition, None)
        token = _Token(partition, message.reply, self._answered_at + topology.lease)
        self._arrived.append(Lease(message.data, meta.num_delivered or 1, token))
        self._news.set()

    def _on_status(self, message: Msg) -> None:
        """Hear how a pull ended without an event."""
        partition = int(message.subject.rpartition(".")[2])
        if self._pulled.pop(partition, None) is None:
            return
        status = (message.headers or {}).get("Status")
        if status in {"503", "404"} or "Deleted" in (message.headers or {}).get("Description", ""):
            self._lacking.add(partition)
        self._resting.append(partition)
        if status == "503":
            asyncio.get_running_loop().call_later(0.2, self._news.set)  # no storm while it elects
        else:
            self._news.set()

    async def _give_back_arrived(self) -> None:
        """Let what nobody took be handed out again at once, if there is still a connection."""
        for lease in list(self._arrived):
            try:
                await self._ready()[0].send(_token(lease).reply, b"-NAK")
            except TransportError:
                return

    # --- giving back ---------------------------------------------------------------------------

    async def extend(self, leases: Sequence[Lease]) -> None:
        """See `Source`."""
        _connection, topology = self._ready_for(leases)
        asked = now()
        await asyncio.gather(*(self._confirm(_token(lease), b"+WPI") for lease in leases))
        for lease in leases:
            _token(lease).until = asked + topology.lease

    async def done(self, lease: Lease) -> None:
        """See `Source`."""
        token = _token(lease)
        try:
            self._ready_for([lease])
            await self._confirm(token, b"+ACK")
        finally:
            self._end(token)

    async def bury(self, lease: Lease, letter: bytes) -> None:
        """See `Source`."""
        from alhena_async.relay._connection import reply_of  # noqa: PLC0415

        connection, topology = self._ready_for([lease])
        if len(letter) > connection.max_payload:
            letter = shortened(letter, connection.max_payload)
        try:
            async with asyncio.timeout(self._left(lease)):
                reply_of(await connection.request(topology.letters_subject, letter))
        except (TimeoutError, TransportError) as error:
            self._end(_token(lease))
            raise LeaseLost(f"the letter was not taken: {error}") from error
        await self.done(lease)

    async def give_back(self, lease: Lease) -> None:
        """See `Source`."""
        token = _token(lease)
        try:
            async with asyncio.timeout(_GIVE_BACK_TIMEOUT):
                connection, _topology = self._ready()
                await connection.request(token.reply, b"-NAK")
        except (TimeoutError, TransportError):
            _log.debug("alhena: an event could not be given back; it comes again after its lease")
        finally:
            self._end(token)

    def _ready_for(self, leases: Sequence[Lease]) -> tuple[Connection, Topology]:
        try:
            ready = self._ready()
        except TransportError as error:
            raise LeaseLost(str(error)) from error
        over = [_token(lease) for lease in leases if _token(lease).until <= now()]
        if over:
            # The server would confirm it all the same, and take it for its next taker's.
            for token in over:
                self._end(token)
            raise LeaseLost("the lease is over")
        return ready

    def _left(self, lease: Lease) -> float:
        return max(0.0, _token(lease).until - now())

    async def _confirm(self, token: _Token, verb: bytes) -> None:
        """Return once the server has confirmed it.

        Raises:
            LeaseLost: It has not, before the lease is over.
        """
        connection, _topology = self._ready()
        try:
            async with asyncio.timeout(max(0.0, token.until - now())):
                await connection.request(token.reply, verb)
        except TimeoutError:
            raise LeaseLost("the broker did not confirm it in time") from None
        except TransportError as error:
            raise LeaseLost(str(error)) from error

    def _end(self, token: _Token) -> None:
        """Ask for the partition's next event, if this source still serves it."""
        if self._inbox and not token.is_over and token.partition not in self._pulled:
            token.is_over = True
            self._resting.append(token.partition)
            self._news.set()


def _token(lease: Lease) -> _Token:
    assert isinstance(lease.token, _Token)  # noqa: S101  made here
    return lease.token
