"""The lifespan: the client's life within the application's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    AlhenaTimeoutError,
    ClientClosedError,
    OutcomeStatus,
    QueueFullError,
    QueuePolicy,
)
from alhena_async.integrations.asgi import alhena_lifespan, client_of
from alhena_async.testing import virtual
from tests.scripted import HANG, Script, cart, client_over


def application() -> Any:
    return SimpleNamespace(state=SimpleNamespace())


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMPANY_KEY", "REGION", "BASE_URL", "CAPACITY", "LINGER", "ENABLED", "JOURNAL"):
        monkeypatch.delenv(f"ALHENA_{name}", raising=False)


@virtual
async def test_the_client_runs_between_startup_and_shutdown() -> None:
    """In the application's state and in the lifespan's; what waits at the end is delivered."""
    app, script = application(), Script()
    async with alhena_lifespan("shop", transport=script)(app) as state:
        assert state == {"alhena": app.state.alhena}
        app.state.alhena.track_nowait(cart())
        assert script.sent == []
    assert script.what == ["mug:ITEM_ADDED:1"]
    assert (script.opened, script.closed) == (1, 1)
    with pytest.raises(ClientClosedError):
        app.state.alhena.track_nowait(cart())


@pytest.mark.parametrize(
    ("key", "arguments"), [("shop", {"queue": QueuePolicy(capacity=1)}), (None, {})]
)
@virtual
async def test_a_handler_that_names_no_timeout_waits_for_half_a_second(
    key: str | None, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a queue of the shop's own, and from the environment: forgetting it is safe."""
    monkeypatch.setenv("ALHENA_COMPANY_KEY", "shop")
    monkeypatch.setenv("ALHENA_CAPACITY", "1")
    app = application()
    async with alhena_lifespan(key, transport=Script(HANG), drain_timeout=0, **arguments)(app):
        client: AlhenaClient = app.state.alhena
        client.track_nowait(cart())
        with pytest.raises(AlhenaTimeoutError, match=r"no room within 0.5 s"):
            await client.track(cart())
        assert asyncio.get_running_loop().time() == 0.5


@virtual
async def test_the_applications_own_lifespan_runs_inside() -> None:
    """It finds the client, its state is passed on, and it may still track when it ends."""
    app, script = application(), Script()

    @asynccontextmanager
    async def own(its: Any) -> AsyncIterator[dict[str, int]]:
        assert its is app
        its.state.alhena.track_nowait(cart(product="first"))
        yield {"database": 7}
        its.state.alhena.track_nowait(cart(product="last"))

    async with alhena_lifespan("shop", transport=script, lifespan=own)(app) as state:
        assert state == {"database": 7, "alhena": app.state.alhena}
    assert script.what == ["first:ITEM_ADDED:1", "last:ITEM_ADDED:1"]


@virtual
async def test_a_lifespan_that_yields_nothing_is_fine_too() -> None:
    """The usual kind."""
    app = application()

    @asynccontextmanager
    async def own(_: Any) -> AsyncIterator[None]:
        yield

    async with alhena_lifespan("shop", transport=Script(), lifespan=own)(app) as state:
        assert state == {"alhena": app.state.alhena}


@virtual
@pytest.mark.parametrize("when", ["startup", "shutdown"])
async def test_an_application_that_fails_leaves_no_client_behind(when: str) -> None:
    """Its error goes on to the server, and what was tracked is delivered."""
    script = Script()

    @asynccontextmanager
    async def own(its: Any) -> AsyncIterator[None]:
        its.state.alhena.track_nowait(cart())
        if when == "startup":
            raise LookupError("no database")
        yield
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        async with alhena_lifespan("shop", transport=script, lifespan=own)(application()):
            pass
    assert len(script.sent) == script.closed == 1


@virtual
async def test_each_run_has_a_client_of_its_own() -> None:
    """A test suite starts one application many times."""
    app, lifespan = application(), alhena_lifespan("shop", transport=Script())
    async with lifespan(app) as first:
        pass
    async with lifespan(app) as second:
        assert first["alhena"] is not second["alhena"] is app.state.alhena
        second["alhena"].track_nowait(cart())


@virtual
async def test_a_client_of_your_own() -> None:
    """Made by your function in the worker; or ready, and closed here."""
    made: list[AlhenaClient] = []

    def make() -> AlhenaClient:
        made.append(client_over(Script()))
        return made[-1]

    lifespan = alhena_lifespan(client=make)
    assert made == []
    async with lifespan(application()) as state:
        assert [state["alhena"]] == made
    ready = client_over(Script())
    async with alhena_lifespan(client=ready)(application()) as state:
        assert state["alhena"] is ready
    with pytest.raises(ClientClosedError):
        ready.track_nowait(cart())


def test_a_function_that_makes_no_client_is_refused() -> None:
    """When the application is made, not as a riddle when it starts."""

    async def make() -> AlhenaClient:
        raise AssertionError

    wrong: Any = make
    with pytest.raises(TypeError, match=r"client must be a plain function"):
        alhena_lifespan(client=wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        {"company_key": "shop", "client": client_over},
        {"client": client_over, "region": "eu"},
        {"client": "shop"},
        {"company_key": "shop", "drain_timeout": "5"},
        {"company_key": "shop", "drain_timeout": True},
    ],
)
def test_arguments_that_contradict_each_other_are_refused_at_once(
    arguments: dict[str, Any],
) -> None:
    """Where they stand, and not when the server starts or ends."""
    with pytest.raises(TypeError, match=r"client|drain_timeout"):
        alhena_lifespan(**arguments)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_drain_timeout_that_is_no_time_is_refused_at_once(seconds: float) -> None:
    """It would be needed only when the server stops."""
    with pytest.raises(ValueError, match="drain_timeout must be 0 or more"):
        alhena_lifespan("shop", drain_timeout=seconds)


async def test_settings_that_cannot_work_stop_the_start() -> None:
    """The error names the setting; the worker does not begin to serve."""
    with pytest.raises(ValueError, match="region must be one of us, eu"):
        await alhena_lifespan("shop", region="mars")(application()).__aenter__()
    with pytest.raises(ValueError, match="ALHENA_COMPANY_KEY is not set"):
        await alhena_lifespan()(application()).__aenter__()


@virtual
async def test_without_a_key_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments win over it, and the numbers of the operator hold."""
    monkeypatch.setenv("ALHENA_COMPANY_KEY", "from-env")
    monkeypatch.setenv("ALHENA_BASE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("ALHENA_CAPACITY", "1")
    script = Script()
    async with alhena_lifespan(transport=script)(application()) as state:
        client: AlhenaClient = state["alhena"]
        assert client.base_url == "http://127.0.0.1:9/"
        client.track_nowait(cart())
        assert client.track_nowait(cart(product="cup")).done()
    assert script.sent[0].payload["company_key"] == "from-env"


@virtual
async def test_a_full_queue_drops_unless_yours_says_otherwise() -> None:
    """A handler never meets `QueueFullError` by default."""
    script = Script(otherwise=HANG)
    async with alhena_lifespan("shop", transport=script, drain_timeout=0)(application()) as state:
        for _ in range(10_000):
            state["alhena"].track_nowait(cart())
        assert (await state["alhena"].track_nowait(cart())).status is OutcomeStatus.DROPPED
    mine = QueuePolicy(capacity=1)
    async with alhena_lifespan("shop", transport=Script(), queue=mine)(application()) as state:
        state["alhena"].track_nowait(cart())
        with pytest.raises(QueueFullError):
            state["alhena"].track_nowait(cart())


@virtual
async def test_what_could_not_be_delivered_in_time_is_counted_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once, with what to do about it; the end comes when the drain timeout is over."""
    began = asyncio.get_running_loop().time()
    async with alhena_lifespan("shop", transport=Script(otherwise=HANG), drain_timeout=3)(
        application()
    ) as state:
        for number in range(3):
            state["alhena"].track_nowait(cart(product=f"p{number}"))
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    told = [record for record in caplog.records if "undelivered" in record.message]
    assert [(record.levelno, record.message[:33]) for record in told] == [
        (logging.WARNING, "alhena: 3 events were undelivered")
    ]


async def test_what_a_journal_keeps_is_no_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line at INFO and no warning; the next lifespan delivers it."""
    caplog.set_level(logging.INFO, "alhena_async")
    away, back = Script(otherwise=HANG), Script()
    async with alhena_lifespan("shop", transport=away, journal=tmp_path, drain_timeout=0)(
        application()
    ) as state:
        await state["alhena"].track(cart())
    told = [record for record in caplog.records if "undelivered" in record.message]
    assert [(record.levelno, record.message[:31]) for record in told] == [
        (logging.INFO, "alhena: 1 event was undelivered")
    ]
    assert f"kept in {tmp_path}" in told[0].message
    async with alhena_lifespan("shop", transport=back, journal=tmp_path)(application()) as state:
        await state["alhena"].flush()
    assert len(back.sent) == 1


@virtual
async def test_the_default_drain_fits_into_ten_seconds() -> None:
    """`docker stop` waits for 10: half of them are left for the requests."""
    began = asyncio.get_running_loop().time()
    async with alhena_lifespan("shop", transport=Script(otherwise=HANG))(application()) as state:
        state["alhena"].track_nowait(cart())
    assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("has_state", [True, False])
async def test_two_lifespans_within_one_another(has_state: bool) -> None:
    """Each client is found while its own is the innermost; the outer one's end is its own."""
    app = application() if has_state else None
    first, second = (alhena_lifespan(client=lambda: client_over(Script())) for _ in range(2))
    async with first(app) as outer:
        async with second(app) as inner:
            assert client_of({"app": app}) is inner["alhena"]
        assert client_of({"app": app}) is outer["alhena"]


async def test_two_lifespans_side_by_side() -> None:
    """On one loop, of applications without a state: the one that ends first takes nothing along."""
    first, second = (alhena_lifespan(client=lambda: client_over(Script())) for _ in range(2))
    one, other = first(None), second(None)
    await one.__aenter__()
    state = await other.__aenter__()
    await one.__aexit__(None, None, None)
    assert client_of({}) is state["alhena"]
    await other.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="no Alhena client here"):
        client_of({})
