"""The pytest plugin: fixtures for the tests of code that uses `alhena_async`.

pytest loads this file in every test run of every environment that has the package, so it stands
beside the package and imports nothing but pytest; the rest comes when a fixture is used. See
`docs/testing.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alhena_async import AlhenaClient
    from alhena_async.testing import EmulatorThread, MemoryTransport


@pytest.fixture
def alhena_emulator_options() -> dict[str, Any]:
    """What `alhena_emulator` is made with; override it: `{"tickets": "opened"}`."""
    return {}


@pytest.fixture
def alhena_client_options() -> dict[str, Any]:
    """What the clients are made with, on top of short delays; override it."""
    return {}


@pytest.fixture
def alhena_emulator(alhena_emulator_options: dict[str, Any]) -> Iterator[EmulatorThread]:
    """A real server of the API on a free port; for any kind of test, a new one for each."""
    from alhena_async.testing import EmulatorThread  # noqa: PLC0415

    with EmulatorThread(**alhena_emulator_options) as emulator:
        yield emulator


@pytest.fixture
def alhena_transport() -> MemoryTransport:
    """The API in memory, without a socket; for any kind of test."""
    from alhena_async.testing import MemoryTransport  # noqa: PLC0415

    return MemoryTransport()


@pytest.fixture
def alhena_client(
    request: pytest.FixtureRequest,
    alhena_emulator: EmulatorThread,
    alhena_client_options: dict[str, Any],
) -> Iterator[AlhenaClient]:
    """A started client of `alhena_emulator`, for `async def` tests; closed afterwards."""
    from alhena_async.testing import _fixtures  # noqa: PLC0415

    loop = _fixtures.real_loop_of(request)
    with _fixtures.client_on(loop, alhena_client_options, base_url=alhena_emulator.url) as client:
        yield client


@pytest.fixture
def alhena_memory_client(
    request: pytest.FixtureRequest,
    alhena_transport: MemoryTransport,
    alhena_client_options: dict[str, Any],
) -> Iterator[AlhenaClient]:
    """A started client over `alhena_transport`, for `async def` tests; closed afterwards."""
    from alhena_async.testing import _fixtures  # noqa: PLC0415

    loop = _fixtures.loop_of(request)
    with _fixtures.client_on(loop, alhena_client_options, transport=alhena_transport) as client:
        yield client
