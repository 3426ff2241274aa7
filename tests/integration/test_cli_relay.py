"""`alhena relay`: made, looked at and run by processes of their own, against a real server."""

import asyncio
import json
import re
import signal
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from alhena_async import OutcomeStatus, RetryPolicy
from alhena_async.emulator import Emulator
from alhena_async.relay import JetStream, Publisher, Relay
from alhena_async.relay._message import decode
from tests.cli_process import Ended, alhena, ended, started
from tests.nats_process import PROGRAM, NatsServer
from tests.patience import PATIENCE
from tests.scripted import cart, checkout

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """One server, with nothing on it."""
    home = tmp_path / "server"
    home.mkdir()
    made = await NatsServer(home).start()
    yield made
    made.stop()


async def relay(server: NatsServer, tmp_path: Path, *arguments: str) -> Ended:
    verb, *options = arguments
    return await alhena("relay", verb, "--broker", server.url, *options, cwd=tmp_path)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


async def publish(server: NatsServer, count: int) -> None:
    async with Publisher("shop", broker=JetStream(server.url), coalescing="off") as shop:
        for number in range(count):
            await shop.record(cart(f"v{number}"))


async def test_init_makes_what_is_missing_and_is_repeated_without_harm(
    server: NatsServer, tmp_path: Path
) -> None:
    """Exit 0 both times; the second changes nothing."""
    first = await relay(server, tmp_path, "init", "--partitions", "4", "--json")
    assert (first.status, first.err) == (0, "")
    assert json.loads(first.out) == {
        "stream": "ALHENA",
        "created": ["ALHENA", "ALHENA-LETTERS"],
        "differences": [],
    }
    again = await relay(server, tmp_path, "init", "--partitions", "4")
    assert again.status == 0
    assert "ALHENA stands as it is wanted" in plain(again.out)


async def test_what_differs_is_shown_and_changed_only_on_request(
    server: NatsServer, tmp_path: Path
) -> None:
    """Exit 1 until `--apply`."""
    await relay(server, tmp_path, "init", "--partitions", "4")
    wanted = ("--partitions", "4", "--lease", "5", "--region", "eu", "--max-bytes", "2097152")
    shown = await relay(server, tmp_path, "init", *wanted, "--json")
    assert shown.status == 1
    differences: list[dict[str, Any]] = json.loads(shown.out)["differences"]
    assert {one["what"]: one["wanted"] for one in differences} == {
        "lease": 5.0,
        "max_bytes": 2_097_152,
        "destination": "https://eu.alhena.ai/",
    }
    applied = await relay(server, tmp_path, "init", *wanted, "--apply")
    assert applied.status == 0
    assert (await relay(server, tmp_path, "init", *wanted)).status == 0


async def test_partitions_change_only_while_nothing_waits(
    server: NatsServer, tmp_path: Path
) -> None:
    """Else exit 2, with how many wait and what to do."""
    await relay(server, tmp_path, "init", "--partitions", "4")
    assert (await relay(server, tmp_path, "init", "--partitions", "2", "--apply")).status == 0
    await publish(server, 3)
    refused = await relay(server, tmp_path, "init", "--partitions", "8", "--apply")
    assert refused.status == 2
    assert "3 events" in plain(refused.err)
    assert "Stop the publishers" in plain(refused.err)


async def test_status_says_what_waits(server: NatsServer, tmp_path: Path) -> None:
    """For people, alerts and autoscalers."""
    await relay(server, tmp_path, "init", "--partitions", "4", "--lease", "7")
    await publish(server, 3)
    said = await relay(server, tmp_path, "status", "--json")
    assert said.status == 0
    facts = json.loads(said.out)
    assert facts.pop("oldest_age") > 0
    assert facts.pop("bytes") > 0
    assert facts == {
        "stream": "ALHENA",
        "partitions": 4,
        "replicas": 1,
        "lease": 7.0,
        "destination": "https://app.alhena.ai/",
        "waiting": 3,
        "max_bytes": 1 << 30,
        "dead_letters": 0,
    }
    people = await relay(server, tmp_path, "status")
    assert people.status == 0
    assert "waiting" in plain(people.out)


@pytest.mark.parametrize("verb", ["run", "status"])
async def test_a_stream_that_is_missing_is_said(
    server: NatsServer, tmp_path: Path, verb: str
) -> None:
    """Exit 2, one line, and what to do."""
    said = await relay(server, tmp_path, verb)
    assert said.status == 2
    assert "run alhena relay init" in plain(said.err)
    assert len(plain(said.err).strip().splitlines()) == 1


@pytest.mark.parametrize("verb", ["init", "status"])
async def test_a_broker_that_cannot_be_reached_is_said(tmp_path: Path, verb: str) -> None:
    """Exit 2, and no password."""
    url = "nats://shop:secret@127.0.0.1:1"
    said = await alhena("relay", verb, "--broker", url, cwd=tmp_path)
    assert said.status == 2
    assert "no connection to nats://127.0.0.1:1" in plain(said.err)
    assert "secret" not in said.err + said.out


@pytest.mark.parametrize(
    "options",
    [
        ("init", "--partitions", "0"),
        ("init", "--partitions", "1025"),
        ("init", "--lease", "0.5"),
        ("init", "--lease", "3601"),
        ("init", "--region", "us", "--base-url", "https://x/"),
        ("init", "--base-url", "http://shop.example/"),
        ("init", "--prefix", "A.B"),
        ("run", "--health", "8080"),
        ("run", "--max-attempts", "0"),
    ],
)
async def test_bad_options_are_refused(
    server: NatsServer, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Exit 2, before anything is done."""
    assert (await relay(server, tmp_path, *options)).status == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_delivers_tells_how_it_is_and_ends_well(
    server: NatsServer, tmp_path: Path, number: signal.Signals
) -> None:
    """Health, readiness, counts; exit 0 after the signal."""
    async with Emulator() as api:
        options = ("--partitions", "4", "--base-url", str(api.url))
        assert (await relay(server, tmp_path, "init", *options)).status == 0
        await publish(server, 20)
        port = free_port()
        arguments = ("relay", "run", "--broker", server.url, "--health", f"127.0.0.1:{port}")
        async with started(*arguments, cwd=tmp_path) as process:
            async with asyncio.timeout(PATIENCE):
                while (  # noqa: ASYNC110  another process is waited for
                    len(api.recorded()) < 20 or (await asked(port, "readyz"))[0] != 200
                ):
                    await asyncio.sleep(0.05)
            assert await asked(port, "healthz") == (200, "ok\n")
            status, text = await asked(port, "stats")
            stats = json.loads(text)
            assert status == 200
            assert stats["connected"] is True
            assert stats["client"]["replayed"] == 20
            process.send_signal(number)
            end = await ended(process)
        assert end.status == 0
    assert "Traceback" not in end.err


async def test_a_worker_that_runs_goes_over_to_what_was_changed(
    server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another destination alone; then another number of partitions: no restart is needed."""
    monkeypatch.setattr("alhena_async.relay._jetstream._SECONDS_BETWEEN_LOOKS", 0.1)
    async with Emulator() as first, Emulator() as second:
        where = ("--partitions", "2", "--base-url", str(first.url))
        assert (await relay(server, tmp_path, "init", *where)).status == 0
        worker = Relay(broker=server.url)
        running = asyncio.create_task(worker.run())
        await publish(server, 1)
        await until(lambda: len(first.recorded()) == 1)
        where = ("--partitions", "2", "--base-url", str(second.url))
        assert (await relay(server, tmp_path, "init", *where, "--apply")).status == 0
        await until(lambda: worker.stats().sessions == 2 and worker.stats().connected)
        await publish(server, 2)
        await until(lambda: len(second.recorded()) == 2)
        where = ("--partitions", "5", "--base-url", str(second.url))
        assert (await relay(server, tmp_path, "init", *where, "--apply")).status == 0
        await publish(server, 9)
        await until(lambda: len(second.recorded()) == 11)
        assert len(first.recorded()) == 1
        worker.stop()
        await running


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what others do."""
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_worker_that_is_told_to_end_while_it_looks_at_its_broker_ends_well(
    tmp_path: Path,
) -> None:
    """As one that takes events: exit 0."""
    came, left, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await left.wait()
        writer.close()
        closed.set()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    arguments = ("relay", "run", "--broker", f"nats://127.0.0.1:{port}")
    async with started(*arguments, cwd=tmp_path) as process:
        async with asyncio.timeout(PATIENCE):
            await came.wait()
        process.send_signal(signal.SIGTERM)
        end = await ended(process)
    left.set()
    await closed.wait()
    silent.close()
    assert (end.status, "Traceback" in end.err) == (0, False)


async def asked(port: int, what: str) -> tuple[int, str]:
    """Ask a worker; 0 if it does not listen yet."""
    return await asyncio.to_thread(_ask, f"http://127.0.0.1:{port}/{what}")


def _ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_publishers_dead_letters_are_published_again(
    server: NatsServer, tmp_path: Path
) -> None:
    """Without a broker it is refused with that hint; then in order, and noted."""
    journal = tmp_path / "journal"
    retry = RetryPolicy(cart_delivery_timeout=0.2, checkout_delivery_timeout=0.2)
    broker = JetStream("nats://127.0.0.1:1")
    async with Publisher("shop", broker=broker, journal=journal, retry=retry) as shop:
        receipts = [await shop.track(cart(product="a")), await shop.track(checkout(order_id="o"))]
        assert {(await one).status for one in receipts} == {OutcomeStatus.EXPIRED}
    await relay(server, tmp_path, "init", "--partitions", "2")
    refused = await alhena("dead-letters", "replay", str(journal), cwd=tmp_path)
    assert refused.status == 2
    assert "give --broker URL" in plain(refused.err)
    arguments = ("dead-letters", "replay", str(journal), "--broker", server.url)
    sent = await alhena(*arguments, cwd=tmp_path)
    assert sent.status == 0, sent.err
    assert "published" in plain(sent.out)
    source = JetStream(server.url).source()
    await source.open()
    seen = []
    for _ in range(2):
        [lease] = await source.take(1)
        seen.append(decode(lease.body).order_id)
        await source.done(lease)
    await source.close()
    assert seen == [None, "o"]
    again = await alhena(*arguments, cwd=tmp_path)
    assert again.status == 0
    assert "Nothing to send" in plain(again.out)
