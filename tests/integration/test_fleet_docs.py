"""docs/fleet.md does what it says: commands, permissions, manifests, the message."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from alhena_async import CartEvent, Visitor
from alhena_async._wire import lane_digest
from alhena_async.cli import _relay
from alhena_async.cli._dead_letters import dead_letters
from alhena_async.relay import JetStream, Publisher
from alhena_async.relay._admin import connected
from alhena_async.relay._message import decode
from alhena_async.transports import TransportError
from tests.cli_process import ALHENA, alhena
from tests.nats_process import PROGRAM, NatsServer
from tests.patience import PATIENCE
from tests.scripted import cart, checkout

PAGE = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()

yaml: Any = pytest.importorskip("yaml")

needs_server = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


SINGLE, CLUSTER, PERMISSIONS = blocks("conf")
[MANIFESTS] = blocks("yaml")
[MESSAGE] = blocks("json")
[SHOP] = blocks("python")
COMMANDS, LETTERS = blocks("console")
USERS = ("init", "publisher", "relay", "letters", "status")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@needs_server
async def test_five_commands_are_a_running_fleet(tmp_path: Path) -> None:
    """As they stand on the page, but for the ports."""
    ports = {number: str(free_port()) for number in ("4222", "8787", "8080")}

    def here(text: str) -> str:
        return re.sub("|".join(ports), lambda found: ports[found[0]], text)

    (tmp_path / "nats.conf").write_text(here(SINGLE))
    (tmp_path / "shop.py").write_text(here(SHOP))
    [setting, *commands] = [line[2:] for line in here(COMMANDS).splitlines()]
    name, _, value = setting.removeprefix("export ").partition("=")
    environ = {**os.environ, name: value, "PATH": f"{ALHENA.parent}:{os.environ['PATH']}"}
    assert len(commands) == 5
    async with contextlib.AsyncExitStack() as stack:
        for command, opens in zip(commands, ("4222", "8787", "", "8080", ""), strict=True):
            process = await stack.enter_async_context(running(command, tmp_path, environ))
            if opens:
                await answers(int(ports[opens]))
            else:
                assert await process.wait() == 0
        said = (tmp_path / "out").read_text()
        assert "published\n" in said
        async with asyncio.timeout(PATIENCE):
            while "product mug-1" not in (tmp_path / "out").read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stats = await asyncio.to_thread(asked, f"http://127.0.0.1:{ports['8080']}/stats")
        assert stats["connected"] is True


@contextlib.asynccontextmanager
async def running(
    command: str, home: Path, environ: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a line of the page; one that ends in `&` is ended with the block."""
    words = command.removesuffix(" &").split()
    with (home / "out").open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *words, cwd=home, env=environ, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def answers(port: int) -> None:
    """Wait until somebody listens."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
        return json.load(reply)


@pytest.fixture
async def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NatsServer]:
    """A server with the page's permissions, and the streams that its `init` makes."""
    for user in USERS:
        monkeypatch.setenv(f"{user.upper()}_PASSWORD", f"s-{user}")
    home = tmp_path / "server"
    home.mkdir()
    server = await NatsServer(home, PERMISSIONS).start()
    try:
        made = await alhena(
            "relay", "init", "--broker", url(server, "init"), "--partitions", "2", cwd=tmp_path
        )
        assert made.status == 0, made.err
        yield server
    finally:
        server.stop()


def url(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:s-{user}@")


@needs_server
async def test_the_least_is_enough(locked: NatsServer, tmp_path: Path) -> None:
    """Publisher, relay, letters, status and a change of the topology, each as its own user."""
    async with Publisher("shop", broker=url(locked, "publisher")) as shop:
        assert (await shop.record(cart())).ok
        assert (await shop.record(checkout())).ok
    source = JetStream(url(locked, "relay")).source()
    await source.open()
    [first] = await source.take(10)
    await source.extend([first])
    await source.bury(first, b"{}")
    await source.close()
    for arguments, told in (
        (("relay", "status", "--broker", url(locked, "status"), "--json"), '"waiting": 1'),
        (("dead-letters", "list", url(locked, "letters"), "--json"), '"unreadable"'),
        (("dead-letters", "replay", url(locked, "letters")), "1 letter: no events"),
        (("dead-letters", "purge", url(locked, "letters"), "--yes"), "1 deleted"),
        (("relay", "init", "--broker", url(locked, "init"), "--partitions", "2", "--lease", "9",
          "--apply"), "lease was 60.0"),
    ):  # fmt: skip
        done = await alhena(*arguments, cwd=tmp_path)
        assert told in re.sub(r"\x1b\[[0-9;]*m", "", done.out), done
        assert "s-" not in done.out + done.err


@needs_server
async def test_nobody_may_more(locked: NatsServer) -> None:
    """No user of those deletes a stream, none but `init` makes one, and a stranger does nothing."""

    async def refused(user: str, subject: str) -> None:
        async with connected(JetStream(url(locked, user))) as connection:
            with pytest.raises(TransportError, match="does not answer"):
                await connection.api(subject, {"name": "OTHER", "subjects": ["other"]})

    forbidden = [(user, "STREAM.DELETE.ALHENA") for user in USERS]
    forbidden += [(user, "STREAM.CREATE.OTHER") for user in USERS if user != "init"]
    forbidden += [("publisher", "CONSUMER.DELETE.ALHENA.relay-2-0")]
    await asyncio.gather(*(refused(*one) for one in forbidden))
    stranger = JetStream(locked.url.replace("//", "//publisher:secret@")).channel()
    # The server says it and hangs up: what is heard first of the two is a matter of luck.
    with pytest.raises(TransportError, match=r"uthorization|reset") as caught:
        await stranger.open()
    assert "secret" not in str(caught.value)


@needs_server
def test_a_servers_configuration_is_one(tmp_path: Path) -> None:
    """The server takes it, with the permissions behind it."""
    (tmp_path / "nats.conf").write_text(f"{CLUSTER}\n{PERMISSIONS}")
    passwords = {f"{user.upper()}_PASSWORD": "x" for user in USERS}
    assert PROGRAM is not None
    done = subprocess.run(
        [PROGRAM, "-t", "-c", str(tmp_path / "nats.conf")],
        env={**os.environ, **passwords},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_manifests_run_what_there_is() -> None:
    """Their arguments are options; a pod is given longer than the drain; probes are served."""
    init, relay, _ = list(yaml.safe_load_all(MANIFESTS))
    containers = [one["spec"]["template"]["spec"]["containers"][0] for one in (init, relay)]
    broker = ["--broker", "nats://nats:4222"]
    for container, command in zip(containers, (_relay.init, _relay.run_relay), strict=True):
        group, verb, *options = container["args"]
        assert (group, verb) == ("relay", command.name)
        command.make_context(verb, [*options, *broker])  # or it raises
    drain = _relay.run_relay.make_context("run", [*containers[1]["args"][2:], *broker]).params
    grace = relay["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > drain["drain"]
    assert containers[1]["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 8080}
    assert containers[1]["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": 8080}


@needs_server
async def test_what_waits_is_where_the_scaler_looks(tmp_path: Path) -> None:
    """The monitoring of the server has the number under that path."""
    home = tmp_path / "server"
    home.mkdir()
    port = free_port()
    server = await NatsServer(home, f'http: "127.0.0.1:{port}"').start()
    try:
        await alhena("relay", "init", "--broker", server.url, cwd=tmp_path)
        async with Publisher("shop", broker=server.url) as shop:
            await shop.record(cart())
        trigger = list(yaml.safe_load_all(MANIFESTS))[2]["spec"]["triggers"][0]["metadata"]
        path = trigger["url"].partition("8222/")[2]
        said = await asyncio.to_thread(asked, f"http://127.0.0.1:{port}/{path}")
        assert trigger["valueLocation"] == (
            'account_details.0.stream_detail.#(name=="ALHENA").state.messages'
        )
        streams = {one["name"]: one for one in said["account_details"][0]["stream_detail"]}
        assert streams["ALHENA"]["state"]["messages"] == 1
    finally:
        server.stop()


def test_the_message_is_one() -> None:
    """As another language would write it."""
    message = decode(MESSAGE.encode())
    assert isinstance(message.event, CartEvent)
    assert str(message.event.value) == "9.50"
    assert message.accepted_at == 1_790_000_000.123


def test_lanes_are_as_the_page_says() -> None:
    """To check another language's arithmetic by."""
    rows = re.findall(r"^\| `(.+)`, `(.+)`, `(.+)` \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 2
    for fingerprint, faq_fingerprint, key, lane, partition in rows:
        visitor = Visitor(fingerprint=fingerprint, faq_fingerprint=faq_fingerprint)
        assert (lane_digest(visitor, key), lane_digest(visitor, key) % 64) == (
            int(lane), int(partition),
        )  # fmt: skip


def test_every_command_for_letters_exists() -> None:
    """With the options that it has on the page."""
    lines = [line for line in LETTERS.splitlines() if line.startswith("$ alhena dead-letters")]
    assert len(lines) == 5
    for line in lines:
        _, _, _, verb, *rest = line.split()
        dead_letters.commands[verb].make_context(verb, rest)  # or it raises
