"""What the pytest plugin's fixtures do once they are used.

A client lives on the event loop of the test that uses it, and who owns that loop is decided by
pytest-asyncio or anyio. Both run async fixtures on the test's loop and both leave it idle between
two of them: so one async fixture (of the plugin that runs the test) tells which loop it is, and
the client is started and closed on it from a plain fixture.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

import pytest

from alhena_async import AlhenaClient, BreakerPolicy, QueuePolicy, RetryPolicy
from alhena_async.testing._clock import VirtualLoop

__all__ = ["client_on", "loop_of", "real_loop_of"]

_CLOSE_TIMEOUT = 1.0
_SCOPES = ("function", "class", "module", "package", "session")
_QUICK = {
    "company_key": "test-company",
    "queue": QueuePolicy(linger=0.0),
    "retry": RetryPolicy(
        base=0.01,
        throttle_base=0.01,
        cap=0.05,
        precondition_delay=0.01,
        breaker=BreakerPolicy(open_for=0.05, open_cap=0.2),
    ),
}
"""Delays for tests that wait for real: nothing lingers, a retry comes at once."""


@contextmanager
def client_on(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any], **where: Any
) -> Iterator[AlhenaClient]:
    """A client that is started on an idle loop, and closed on it afterwards.

    Args:
        loop: The test's loop; it must outlive the block.
        options: Constructor arguments, on top of short delays.
        **where: Where it sends, unless the options say so.
    """
    client = AlhenaClient(**{**_QUICK, **where, **options})
    loop.run_until_complete(client.start())
    try:
        yield client
    finally:
        loop.run_until_complete(client.close(_CLOSE_TIMEOUT))


def loop_of(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    """Return the event loop that will run the test.

    The test fails with a reason where there is none: a plain function, another backend than
    asyncio, no plugin that runs it.
    """
    fixture = _loop_fixture(request)
    loop: asyncio.AbstractEventLoop = request.getfixturevalue(fixture)
    return loop


def real_loop_of(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    """Like `loop_of`; a loop on virtual time is refused as well."""
    loop = loop_of(request)
    if isinstance(loop, VirtualLoop):
        _refuse(request, "talks to a real server, and virtual time would jump over its answers: "
                "use alhena_memory_client")  # fmt: skip
    return loop


def _loop_fixture(request: pytest.FixtureRequest) -> str:
    """Offer the fixture that tells the test's loop, and return its name."""
    config = request.config
    by_anyio = "anyio_backend" in request.fixturenames
    marker = request.node.get_closest_marker("asyncio")  # auto mode marks tests, too
    by_asyncio = marker is not None and config.pluginmanager.has_plugin("asyncio")
    if not _is_async(request.node) or not (by_anyio or by_asyncio):
        _refuse(request, "lives on the test's event loop, and this test has none: make it "
                "`async def` and let pytest-asyncio or anyio run it. A plain test, and one under "
                "@virtual, makes a client of its own, with alhena_emulator.url or "
                "transport=alhena_transport")  # fmt: skip
    if by_anyio and by_asyncio:
        _refuse(request, "can live on one event loop, and pytest-asyncio and anyio both claim this "
                "test: in pytest-asyncio's auto mode leave out the mark for anyio")  # fmt: skip
    if by_anyio:
        backend = request.getfixturevalue("anyio_backend_name")
        if backend != "asyncio":
            _refuse(request, f"needs anyio's asyncio backend, not {backend}")
        _offer(config, "alhena-anyio-loop", _for_anyio)
        return "_alhena_anyio_loop"
    _offer(config, "alhena-asyncio-loops", _for_pytest_asyncio)
    return f"_alhena_{_loop_scope(request)}_loop"


def _refuse(request: pytest.FixtureRequest, reason: str) -> NoReturn:
    pytest.fail(f"{request.fixturename} {reason}", pytrace=False)


def _is_async(item: Any) -> bool:
    test = item.obj
    inner = getattr(getattr(test, "hypothesis", None), "inner_test", test)
    return inspect.iscoroutinefunction(inner)


def _loop_scope(request: pytest.FixtureRequest) -> str:
    marker = request.node.get_closest_marker("asyncio")
    named = marker.kwargs.get("loop_scope") if marker else None
    try:
        return str(named or request.config.getini("asyncio_default_test_loop_scope"))
    except ValueError:  # an older pytest-asyncio knows no such setting
        return "function"


def _offer(config: pytest.Config, name: str, make: Callable[[], dict[str, Any]]) -> None:
    """Register fixtures when they are first needed, so that nobody else pays for them."""
    if not config.pluginmanager.has_plugin(name):
        plugin = ModuleType(name)  # pytest looks for plain functions in modules only
        vars(plugin).update(make())
        config.pluginmanager.register(plugin, name)


def _for_anyio() -> dict[str, Any]:
    return {"loop": pytest.fixture(_tells_the_loop(), name="_alhena_anyio_loop")}


def _for_pytest_asyncio() -> dict[str, Any]:
    import pytest_asyncio  # noqa: PLC0415  only where it runs the test

    def make(scope: Any) -> Any:
        name = f"_alhena_{scope}_loop"
        return pytest_asyncio.fixture(_tells_the_loop(), loop_scope=scope, name=name)

    return {scope: make(scope) for scope in _SCOPES}


def _tells_the_loop() -> Callable[[], AsyncIterator[asyncio.AbstractEventLoop]]:
    # A function of its own for each fixture: pytest-asyncio notes the scope on it. A generator,
    # so that the loop is kept until whoever asked for it is done.
    async def running_loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
        yield asyncio.get_running_loop()

    return running_loop
