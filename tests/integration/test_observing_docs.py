"""The example in docs/observing.md counts what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from alhena_async import AlhenaClient, OutcomeStatus, Stats
from alhena_async.emulator import Emulator
from tests.scripted import cart, visitor

PAGE = (Path(__file__).parents[2] / "docs" / "observing.md").read_text()
[LOGGING, MISTAKE, METRICS] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_observer_counts_every_outcome() -> None:
    """Copied as it stands, but for the address."""
    async with Emulator() as emulator:
        names: dict[str, Any] = {}
        exec(METRICS.replace('region="eu"', f"base_url={emulator.url!r}"), names)
        async with names["client"] as client:
            await client.record(cart())
            await client.flush()
    assert names["ended"] == {(OutcomeStatus.RECORDED, None): 1}


async def test_a_mistake_is_logged_as_the_page_says(caplog: pytest.LogCaptureFixture) -> None:
    """The example and the line below it belong together."""
    [line] = re.findall(
        r"^alhena: an event was refused .*?\(1 so far\)", PAGE, re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(compile(MISTAKE, "shop/cart.py", "exec"), names)
    async with Emulator() as emulator, AlhenaClient("shop", base_url=emulator.url) as client:
        names["add_to_cart"](client, visitor("v"), "mug", "9.50")
        assert client.stats().invalid == 1
    assert line.replace("\n", " ") in caplog.messages


def test_every_count_that_is_named_is_one_of_the_stats() -> None:
    """Whoever looks for it finds it."""
    named = re.findall(r"^\| `(\w+)`", PAGE.partition("## My events")[2], re.MULTILINE)
    assert {"accepted", "unattributed", "recorded"} <= set(named)
    assert all(hasattr(Stats(), name) for name in named)
