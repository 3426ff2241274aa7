"""One connection to a NATS server: requests, and what is heard on an inbox. nats-py stands here.

A connection that is lost stays lost, and fails all that waits for an answer over it: whoever needs
one opens another. (nats-py's own reconnecting buffers what is published meanwhile, and lets
requests wait for answers that never come.)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from alhena_async._telemetry.telemetry import log_foreign
from alhena_async.relay._seam import ParcelTooLargeError
from alhena_async.transports import TransportError

__all__ = ["ApiError", "Connection", "Credentials", "NoResponders", "Server", "connect"]

_CONNECT_TIMEOUT: Final = 3  # seconds for one server

_CLOSE_TIMEOUT: Final = 1.0  # seconds

_API_TIMEOUT: Final = 3.0  # seconds for an answer of the server's API

_ANSWER_TIMEOUT: Final = 3  # seconds for the answer to a ping

_NOT_THERE: Final = frozenset({10059, 10037, 10043})
"""What the server's API says where there is no such stream, or no such message in it."""

_PING_INTERVAL: Final = 2  # seconds between two pings of ours; two without an answer: it is lost


@attrs.frozen(kw_only=True)
class Credentials:
    """Who logs in; never shown."""

    credentials: str | None = attrs.field(default=None, repr=False)
    nkey_seed: str | None = attrs.field(default=None, repr=False)
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Server:
    """Where a server is, and who logs in there."""

    url: str
    """Without anybody's name."""
    login: Credentials = attrs.field(repr=False)

    @property
    def wants_tls(self) -> bool:
        """Whether nothing may be said in the clear."""
        return self.url.startswith("tls:")


class NoResponders(TransportError):  # noqa: N818  says what the server says
    """Nobody listens: no such stream or consumer, or no leader of it yet."""


class ApiError(TransportError):
    """The server's API refused a request.

    Args:
        code: The server's `err_code`.
        description: In the server's words.
    """

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"the broker says: {description} ({code})", sent=False)
        self.code = code


class _Client(Client):
    """Says nothing in the clear to a server that was to be spoken to by TLS."""

    wants_tls = False

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002  as it is called
        if self.wants_tls and not info.get("tls_required"):
            raise nats.errors.Error("nats: the server offers no TLS, and its URL begins with tls:")
        await super()._process_info(info, initial_connection)


class Connection:
    """An open connection.

    Args:
        client: Connected.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._numbers = itertools.count(1)
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._heard: dict[str, Subscription] = {}
        """What is subscribed to, by inbox."""
        self.is_lost: bool = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done once the connection is lost or closed."""

    async def listen(self) -> None:
        """Begin to hear answers."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def _on_answer(self, message: Msg) -> None:
        waiter = self._waiting.get(message.subject)
        if waiter is not None and not waiter.done():
            waiter.set_result(message)

    @property
    def max_payload(self) -> int:
        """Bytes of a message that the server takes."""
        return self._client.max_payload

    async def ping(self) -> None:
        """Return once the server has answered: what it sent before that has been heard.

        Cancelled, it ends at once, in whatever moment that is.

        Raises:
            TransportError: It does not answer.
        """
        # nats-py waits by `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that
        # comes together with the answer: the waiting is left to a task of its own.
        work = self._client.flush(timeout=_ANSWER_TIMEOUT)
        with _errors():
            await asyncio.shield(asyncio.create_task(work, name="alhena-broker-ping"))

    async def subscribe(self, handle: Callable[[Msg], Awaitable[None]]) -> str:
        """Hear what comes to an inbox of its own; return it, to be followed by a dot and a word."""
        inbox = f"_INBOX.{secrets.token_hex(11)}"
        with _errors():
            self._heard[inbox] = await self._client.subscribe(f"{inbox}.*", cb=handle)
        return inbox

    async def unsubscribe(self, inbox: str) -> None:
        """Hear no more on an inbox; return once all that was sent there has been handled.

        Raises:
            TransportError: There is no connection, or no answer in time.
        """
        subscription = self._heard.pop(inbox)
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                with _errors():
                    await subscription.drain()  # type: ignore[no-untyped-call]
        except TimeoutError:
            raise TransportError("the broker does not answer in time") from None

    async def send(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """Send, and expect no answer here.

        Raises:
            TransportError: There is no connection.
        """
        with _errors():
            await self._client.publish(subject, payload, reply=reply)

    async def request(
        self, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """Send, and return the answer. The caller bounds the time.

        Raises:
            TransportError: There is no connection, or it was lost before an answer came.
            NoResponders: Nobody listens there.
            ParcelTooLargeError: The server takes no message of this size.
        """
        size = len(payload) + _size_of(headers)
        if size > self.max_payload:  # the server would break the connection off
            raise ParcelTooLargeError(size, self.max_payload)
        if self.is_lost:
            raise TransportError("no connection to the broker", sent=False)
        reply = f"{self._inbox}.{next(self._numbers):x}"
        waiter: asyncio.Future[Msg] = self._loop.create_future()
        self._waiting[reply] = waiter
        try:
            with _errors():
                given = dict(headers) if headers else None
                await self._client.publish(subject, payload, reply=reply, headers=given)
            message = await waiter
        finally:
            del self._waiting[reply]
        if message.headers and message.headers.get("Status") == "503":
            raise NoResponders("nobody listens at the broker: is its stream there?", sent=False)
        return message

    async def api(self, subject: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the server's API, and return what it says.

        Raises:
            TransportError: There was no answer.
            ApiError: It refused.
        """
        try:
            async with asyncio.timeout(_API_TIMEOUT):
                message = await self.request(f"$JS.API.{subject}", json.dumps(payload).encode())
        except TimeoutError:
            raise TransportError("the broker does not answer in time") from None
        return reply_of(message)

    async def find(self, subject: str, payload: Mapping[str, Any]) -> dict[str, Any] | None:
        """Ask the server's API for something, or to delete it; return None if it is not there.

        Raises:
            TransportError: There was no answer, or another one.
        """
        try:
            return await self.api(subject, payload)
        except ApiError as error:
            if error.code in _NOT_THERE:
                return None
            raise

    async def stream(self, name: str) -> dict[str, Any] | None:
        """Return what the server says of a stream; None if there is none.

        Raises:
            TransportError: There was no answer, or another one.
        """
        return await self.find(f"STREAM.INFO.{name}", {})

    def fail(self) -> None:
        """Fail all that waits: the connection is lost."""
        self.is_lost = True
        if not self.lost.done():
            self.lost.set_result(None)
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(TransportError("the connection to the broker was lost"))

    async def close(self) -> None:
        """Close it."""
        self.fail()
        await _close(self._client)


async def connect(server: Server, tls: ssl.SSLContext | None) -> Connection:
    """Connect to one server.

    Raises:
        TransportError: There is no connection; the message quotes nothing secret.
    """
    client = _Client()
    client.wants_tls = server.wants_tls
    connection: Connection | None = None
    told: list[str] = []

    async def on_closed() -> None:
        if connection is not None:
            connection.fail()

    async def on_error(error: Exception) -> None:
        told.append(str(error) or type(error).__name__)

    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            await client.connect(
                servers=[_plain(server.url)],
                name="alhena-async",
                error_cb=on_error,
                closed_cb=on_closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_TIMEOUT,
                ping_interval=_PING_INTERVAL,
                max_outstanding_pings=2,
                tls=tls,
                skip_subject_validation=True,
                **_login(server.login),
            )
            connection = Connection(client)
            await connection.listen()
    except (OSError, TimeoutError, nats.errors.Error, ValueError) as error:
        await _close(client)
        why = told[-1] if told else str(error) or type(error).__name__
        raise TransportError(f"no connection to {server.url} ({why})", sent=False) from None
    except BaseException:
        await _close(client)
        raise
    if client.is_closed:
        connection.fail()
    return connection


def _size_of(headers: Mapping[str, str] | None) -> int:
    """Return the bytes that headers take: `NATS/1.0`, a line for each, an empty one."""
    if not headers:
        return 0
    return 12 + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())


def _plain(url: str) -> str:
    """Return a URL as nats-py takes it: it speaks TLS to whoever asks for it, see `_Client`."""
    parts = urlsplit(url)
    return f"nats://{parts.netloc}"


def _login(login: Credentials) -> dict[str, Any]:
    given = {
        "user_credentials": login.credentials,
        "nkeys_seed": login.nkey_seed,
        "user": login.user,
        "password": login.password,
        "token": login.token,
    }
    return {name: value for name, value in given.items() if value is not None}


def reply_of(message: Msg) -> dict[str, Any]:
    """Return what the server's API says.

    Raises:
        ApiError: It refused.
        TransportError: It is no answer of this API.
    """
    try:
        said = json.loads(message.data)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise TransportError("the broker answered in an unforeseen way")
    error = said.get("error")
    if error is not None:
        raise ApiError(int(error.get("err_code") or 0), str(error.get("description")))
    return said


@contextlib.contextmanager
def _errors() -> Any:
    """Let whatever nats-py raises of a connection be a `TransportError`."""
    try:
        yield
    except nats.errors.MaxPayloadError:
        raise  # looked at before
    except (nats.errors.Error, OSError) as error:
        raise TransportError(f"no connection to the broker ({error})", sent=False) from None


async def _close(client: Client) -> None:
    try:
        async with asyncio.timeout(
            _CLOSE_TIMEOUT
        ):  # it may wait for ever, as after a bad certificate
            await client.close()
    except TimeoutError:
        return
    except Exception as error:  # noqa: BLE001  foreign
        log_foreign("the connection to the broker could not be closed cleanly", error)
