"""Each host, stopped in the middle of its work: what it had accepted is recorded, in order."""

from __future__ import annotations

import sys

import pytest

from tests.hosts.stops import StopKind, stop
from tests.hosts.table import HOSTS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="hosts are stopped by signals")


@pytest.mark.parametrize("kind", [StopKind.TERM_WAITING, StopKind.KILL_WAITING])
@pytest.mark.parametrize("name", HOSTS)
async def test_what_a_host_accepted_is_recorded(name: str, kind: StopKind) -> None:
    """Once, and in the order in which one process accepted it of one visitor."""
    host = HOSTS[name]
    if host.missing:
        pytest.skip(host.missing)
    result = await stop(host, kind)
    assert result.accepted
    assert result.is_right, result
