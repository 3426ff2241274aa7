"""What holds on both ways of a request, and for whoever is told of it."""

import contextvars

import aiohttp
import pytest

from alhena_async import HttpPolicy, Outcome, QueuePolicy
from alhena_async._http.transport import HttpTransport
from alhena_async.observers import Observer
from alhena_async.testing import virtual
from tests.scripted import Script, cart, client_over

VISITOR = contextvars.ContextVar("VISITOR", default="nobody")


@pytest.mark.parametrize("connect", [9.0, 10.0, 30.0])
async def test_a_connect_ends_before_its_attempt(connect: float) -> None:
    """Otherwise the attempt's timeout comes first, and nobody knows that nothing was sent."""
    policy = HttpPolicy(connect_timeout=connect, request_timeout=10.0)
    transport = HttpTransport("http://127.0.0.1:1/", policy)
    bounds = (transport._timeout.connect, transport._timeout.sock_connect)
    assert min(bound for bound in bounds if bound is not None) < 10.0


async def test_the_session_keeps_no_cookie() -> None:
    """A balancer's cookie would tie all visitors to one server, and is nobody's here."""
    transport = HttpTransport("http://127.0.0.1:1/", HttpPolicy())
    await transport.open()
    try:
        assert transport._session is not None
        assert isinstance(transport._session.cookie_jar, aiohttp.DummyCookieJar)
    finally:
        await transport.close()


@virtual
async def test_observers_are_told_in_the_clients_own_context() -> None:
    """What they log belongs to no caller's request."""
    seen: list[str] = []

    class Noting(Observer):
        def accepted(self, event: object) -> None:
            seen.append(VISITOR.get())

        def outcome(self, outcome: Outcome) -> None:
            seen.append(VISITOR.get())

    async with client_over(Script(), queue=QueuePolicy(linger=0.0), observers=[Noting()]) as client:
        token = VISITOR.set("a caller")
        receipt = client.track_nowait(cart())
        await receipt
        VISITOR.reset(token)
    assert seen == ["nobody", "nobody"]
