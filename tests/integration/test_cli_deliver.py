"""`alhena journal deliver`: what dead processes left is sent, and nobody is disturbed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from alhena_async import AlhenaClient, CartEvent, CheckoutEvent, QueuePolicy
from alhena_async.cli._console import Screen
from alhena_async.cli._deliver import Delivery
from alhena_async.cli._options import CommandError
from alhena_async.emulator import Emulator
from alhena_async.journal import DeadLetters, inspect_journal
from alhena_async.relay import Publisher
from alhena_async.testing import MemoryBroker
from tests.cli_process import alhena, ended, started
from tests.journals import cart, order
from tests.patience import PATIENCE
from tests.raw_server import server


@pytest.fixture
async def api() -> AsyncIterator[Emulator]:
    async with Emulator() as running:
        yield running


async def left_by(
    directory: Path, url: str, *events: CartEvent | CheckoutEvent, company_key: str = "shop"
) -> None:
    """Leave events as a process does that ended before it could send them."""
    queue = QueuePolicy(linger=0.0)
    client = AlhenaClient(company_key, base_url=url, journal=directory, queue=queue)
    client.pause()
    async with client:
        for event in events:
            await client.track(event)


class Said(NamedTuple):
    """How a run ended, what it said as JSON, and what it noted."""

    status: int
    out: Any
    err: str


Deliver = Callable[..., Awaitable[Said]]


@pytest.fixture
def deliver(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Deliver:
    """What the command does, without a process of its own."""
    for name in list(os.environ):
        if name.startswith("ALHENA_"):
            monkeypatch.delenv(name)

    async def run(
        directory: Path, *, to: str | None = None, timeout: float = PATIENCE, as_json: bool = True
    ) -> Said:
        capsys.readouterr()
        delivery = Delivery(directory, Screen(), to=to, timeout=timeout, allow_insecure=False)
        status = await delivery.run(as_json=as_json)
        out, err = capsys.readouterr()
        return Said(status, json.loads(out) if as_json else out, err)

    return run


def some_events(count: int = 6) -> Sequence[CartEvent | CheckoutEvent]:
    return [
        cart(number, of=number) if number % 2 else order(number, order_id=f"o-{number}")
        for number in range(count)
    ]


async def test_what_was_left_is_delivered_and_the_directory_is_empty_then(
    api: Emulator, tmp_path: Path, deliver: Deliver
) -> None:
    """Of several processes, under each event's own company key, without any setting."""
    directory = tmp_path / "journal"
    await left_by(directory, api.url, *some_events(6))
    await left_by(directory, api.url, order(9, order_id="o-9"), company_key="other")
    status, said, _ = await deliver(directory)
    assert status == 0
    assert said["outcomes"] == {"recorded": 7}
    assert (said["waiting"], said["left_alone"], said["not_deliverable"]) == ({}, [], [])
    assert sorted(one.company_key for one in api.recorded()) == ["other"] + ["shop"] * 6
    assert inspect_journal(directory).files == ()


async def test_the_command_says_what_came_of_it(api: Emulator, tmp_path: Path) -> None:
    """A table for people; nothing left is a success, and no journal is none."""
    directory = tmp_path / "journal"
    await left_by(directory, api.url, order(1, order_id="o-1"))
    done = await alhena("journal", "deliver", directory, cwd=tmp_path)
    assert (done.status, "recorded" in done.out) == (0, True)
    again = await alhena("journal", "deliver", directory, cwd=tmp_path)
    assert (again.status, "nothing was left" in again.out) == (0, True)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    none = await alhena("journal", "deliver", foreign, cwd=tmp_path)
    assert (none.status, "nothing of a journal is in it" in none.err) == (2, True)


async def test_files_of_living_processes_are_left_alone(
    api: Emulator, tmp_path: Path, deliver: Deliver
) -> None:
    """And named, with how much is in them."""
    directory = tmp_path / "journal"
    await left_by(directory, api.url, order(1, order_id="o-1"))
    living = AlhenaClient("shop", base_url="http://127.0.0.1:9/", journal=directory)
    living.pause()
    async with living:
        await living.track(order(2, order_id="o-2"))
        status, said, _ = await deliver(directory)
        assert status == 0
        assert said["outcomes"] == {"recorded": 1}
        [held] = said["left_alone"]
        assert held["events"] == 1
        told = await deliver(directory, as_json=False)
        assert "left alone" in told.out
        assert "nothing was left" not in told.out
    assert [one.order_id for one in api.recorded()] == ["o-1"]


async def test_what_is_refused_becomes_a_dead_letter_and_a_status(
    api: Emulator, tmp_path: Path, deliver: Deliver
) -> None:
    """As in the shop."""
    directory = tmp_path / "journal"
    async with Emulator(companies=["shop"]) as strict:
        await left_by(directory, strict.url, order(1, order_id="o-1"), company_key="stranger")
        await left_by(directory, strict.url, order(2, order_id="o-2"))
        status, said, _ = await deliver(directory)
    assert status == 1
    assert said["refused"] == {"COMPANY_NOT_FOUND": 1}
    assert said["outcomes"] == {"rejected": 1, "recorded": 1}
    with DeadLetters(directory) as letters:
        assert letters.count().total() == 1


async def test_what_is_too_old_expires(
    api: Emulator, tmp_path: Path, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By this environment's settings; late is wrong."""
    directory = tmp_path / "journal"
    await left_by(directory, api.url, cart(1), order(2, order_id="o-2"))
    monkeypatch.setenv("ALHENA_CART_DELIVERY_TIMEOUT", "0.001")
    monkeypatch.setenv("ALHENA_LINGER", "0")
    status, said, _ = await deliver(directory)
    assert status == 1
    assert said["outcomes"] == {"expired": 1, "recorded": 1}


async def test_what_cannot_be_delivered_waits_on(tmp_path: Path, deliver: Deliver) -> None:
    """Nobody is at home there: after its time it stops, and nothing is lost."""
    directory = tmp_path / "journal"
    url = "http://127.0.0.1:9/"
    await left_by(directory, url, *some_events(4))
    status, said, err = await deliver(directory, timeout=0.5)
    assert status == 1
    assert said["waiting"] == {url: 4}
    assert "the time is over" in err
    told = await deliver(directory, timeout=0, as_json=False)
    assert f"4 events for {url} still waiting" in told.out


async def test_each_goes_where_it_was_meant_to(tmp_path: Path, deliver: Deliver) -> None:
    """Two base URLs in one directory; `--to` picks one."""
    directory = tmp_path / "journal"
    async with Emulator() as one, Emulator() as two:
        await left_by(directory, one.url, order(1, order_id="o-1"))
        await left_by(directory, two.url, order(2, order_id="o-2"))
        status, said, _ = await deliver(directory, to=one.url.rstrip("/"))
        assert (status, said["waiting"]) == (1, {two.url: 1})
        assert (one.recorded_count, two.recorded_count) == (1, 0)
        status, said, _ = await deliver(directory)
        assert (status, two.recorded_count) == (0, 1)


async def test_what_was_meant_for_a_broker_is_named(
    api: Emulator, tmp_path: Path, deliver: Deliver
) -> None:
    """A `Publisher` left it: no base URL is known for it."""
    directory = tmp_path / "journal"
    publisher = Publisher("shop", broker=MemoryBroker(), journal=directory)
    publisher.pause()
    async with publisher:
        await publisher.track(order(1, order_id="o-1"))
    await left_by(directory, api.url, order(2, order_id="o-2"))
    status, said, _ = await deliver(directory)
    assert status == 1
    assert said["outcomes"] == {"recorded": 1}
    assert [one["events"] for one in said["not_deliverable"]] == [1]


async def test_ctrl_c_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    """Status 130, and the next run has it all."""
    directory = tmp_path / "journal"
    asked = asyncio.Event()

    async def hang(*_: object) -> None:
        asked.set()
        await asyncio.sleep(PATIENCE)

    async with server(hang) as url:
        await left_by(directory, url, *some_events(4))
        async with started("journal", "deliver", directory, "--json", cwd=tmp_path) as process:
            async with asyncio.timeout(PATIENCE):
                await asked.wait()
            process.send_signal(signal.SIGINT)
            done = await ended(process)
    assert done.status == 130
    assert sum(json.loads(done.out)["waiting"].values()) == 4


@pytest.mark.parametrize("variable", ["ALHENA_MAX_IN_FLIGHT", "ALHENA_PROXY"])
async def test_a_wrong_variable_is_named_before_anything_is_sent(
    variable: str,
    api: Emulator,
    tmp_path: Path,
    deliver: Deliver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The settings are the environment's."""
    directory = tmp_path / "journal"
    await left_by(directory, api.url, order(1, order_id="o-1"))
    monkeypatch.setenv(variable, "x")
    with pytest.raises(CommandError, match=variable):
        await deliver(directory)
    assert api.recorded_count == 0


async def test_letters_of_long_ago_are_not_let_go(tmp_path: Path, deliver: Deliver) -> None:
    """How long they are kept is for the shop to say: its journal may keep more than the default."""
    directory = tmp_path / "journal"
    async with Emulator(companies=["nobody"]) as strict:
        await left_by(directory, strict.url, order(1, order_id="o-1"))
        assert (await deliver(directory)).status == 1
        with contextlib.closing(sqlite3.connect(directory / "dead-letters.sqlite3")) as file, file:
            file.execute("UPDATE letters SET ended = 1")
        await left_by(directory, strict.url, order(2, order_id="o-2"))
        assert (await deliver(directory)).status == 1
    with DeadLetters(directory) as letters:
        assert letters.count().total() == 2
