"""Whatever is sent to the emulator, it answers."""

from __future__ import annotations

from itertools import islice

import aiohttp
import pytest

from alhena_async.emulator import Emulator
from tests.properties.emulator_bodies import bodies, judge


@pytest.mark.parametrize("seed", [1, 2])
def test_any_body_is_judged(seed: int) -> None:
    """Sound events with something broken: each has its verdict, its line and its place."""
    verdicts = judge(2_000, seed)
    assert verdicts.total() == 2_000
    assert len(verdicts) >= 3


async def test_any_body_is_answered() -> None:
    """Over HTTP, a body that is no event is a 400 and never a 500."""
    async with Emulator() as emulator, aiohttp.ClientSession() as session:
        json_ = {"Content-Type": "application/json"}
        for kind, raw in islice(bodies(7), 200):
            where = f"{emulator.url.rstrip('/')}{kind.path}"
            async with session.post(where, data=raw, headers=json_) as reply:
                assert reply.status in {200, 400, 409}, raw
        assert emulator.requests == 200
