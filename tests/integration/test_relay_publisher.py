"""A publisher against real NATS servers that are away, killed, paused, full, or strangers."""

import asyncio
import itertools
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from alhena_async import OutcomeStatus, Receipt, RetryPolicy
from alhena_async.relay import Channel, JetStream, Lease, Parcel, Publisher, Source, _topology
from alhena_async.relay._message import decode
from alhena_async.relay._topology import Topology
from alhena_async.transports import TransportError
from tests.nats_process import PROGRAM, NatsServer, make_topology
from tests.patience import PATIENCE
from tests.scripted import balance, cart, checkout

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")

TOPOLOGY = Topology(partitions=4, lease=5.0, max_bytes=1 << 20)
QUICK = RetryPolicy(base=0.05, cap=0.5)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """One server, with nothing on it."""
    made = await NatsServer(tmp_path).start()
    yield made
    made.stop()


@pytest.fixture
async def broker(server: NatsServer) -> JetStream:
    """The stream on it."""
    made = JetStream(server.url)
    await make_topology(made, TOPOLOGY)
    return made


async def waiting_at(broker: JetStream) -> list[str]:
    """Take all that is there; return products and order ids, in the order they come."""
    source = broker.source()
    try:
        await source.open()
        found: list[str] = []
        while leases := await taken(source):
            for lease in leases:
                message = decode(lease.body)
                found.append(str(getattr(message.event, "product_id", message.order_id)))
                await source.done(lease)
        return found
    finally:
        await source.close()


async def taken(source: Source) -> list[Lease]:
    """Take what comes soon; nothing if nothing does."""
    try:
        return await asyncio.wait_for(source.take(100), 0.5)
    except TimeoutError:
        return []


async def failed(shop: Publisher, times: int) -> None:
    """Wait for so many failed attempts."""
    while shop.stats().failed_attempts < times:  # noqa: ASYNC110  it says so to nobody
        await asyncio.sleep(0.02)


async def fill(channel: Channel, size: int) -> None:
    """Publish until nothing of this size fits any more."""
    with pytest.raises(TransportError, match="maximum bytes"):  # noqa: PT012
        for number in itertools.count():
            await channel.publish(Parcel(f"{size}-{number}", number, b"x" * size))


async def ended(receipts: list[Receipt]) -> set[OutcomeStatus]:
    async with asyncio.timeout(PATIENCE):
        return {(await receipt).status for receipt in receipts}


async def test_events_reach_the_stream_in_order(broker: JetStream) -> None:
    """Each once, a visitor's one after the other."""
    async with Publisher("shop", broker=broker, coalescing="off") as shop:
        for number in range(50):
            shop.track_nowait(cart("v", product=f"{number:02}"))
        await shop.record(checkout("v", order_id="99"))
        balance(shop)
    assert await waiting_at(broker) == [f"{number:02}" for number in range(50)] + ["99"]


async def test_servers_as_text_are_enough(server: NatsServer, broker: JetStream) -> None:
    """The first that answers serves; those that do not are no harm."""
    servers = f"nats://127.0.0.1:1,{server.url}"
    async with Publisher("shop", broker=servers) as shop:
        assert (await shop.record(cart())).status is OutcomeStatus.PUBLISHED


async def test_a_server_and_a_stream_that_come_later(tmp_path: Path) -> None:
    """The start waits for neither: events do."""
    server = await NatsServer(tmp_path).start()
    server.kill()
    broker = JetStream(server.url)
    try:
        async with Publisher("shop", broker=broker) as shop:
            receipts = [shop.track_nowait(cart(f"v{number}")) for number in range(50)]
            await server.start()
            await asyncio.sleep(1.0)  # connected, and there is no stream
            assert shop.stats().published == 0
            await make_topology(broker, TOPOLOGY)
            assert await ended(receipts) == {OutcomeStatus.PUBLISHED}
            assert shop.stats().failed_attempts == 0
        assert len(await waiting_at(broker)) == 50
    finally:
        server.stop()


async def test_a_server_that_is_killed_again_and_again(
    server: NatsServer, broker: JetStream
) -> None:
    """Under load: nothing is lost, nothing stands there twice, and each visitor's order holds."""
    names = (f"{number:04}" for number in itertools.count())
    receipts: list[Receipt] = []
    async with Publisher("shop", broker=broker, retry=QUICK, coalescing="off") as shop:
        for _ in range(3):
            for turn in range(100):
                receipts += [shop.track_nowait(cart(f"v{who}", product=next(names)))
                             for who in range(2)]  # fmt: skip
                await asyncio.sleep(0)
                if turn == 50:
                    await receipts[-20]
            server.kill()
            receipts += [shop.track_nowait(cart("v0", product=next(names)))]
            await server.start()
            await receipts[-1]
        assert await ended(receipts) == {OutcomeStatus.PUBLISHED}
        balance(shop)
    found = await waiting_at(broker)
    assert sorted(found) == [f"{number:04}" for number in range(len(receipts))]
    per_visitor: dict[str, list[str]] = {}
    of = {
        str(getattr(receipt.event, "product_id", "")): receipt.event.visitor.fingerprint
        for receipt in receipts
    }
    for name in found:
        per_visitor.setdefault(of[name], []).append(name)
    assert all(names_of == sorted(names_of) for names_of in per_visitor.values())


async def test_a_server_that_stands_still(server: NatsServer, broker: JetStream) -> None:
    """The answer is late or lost: the event is repeated, and stands there once."""
    async with Publisher("shop", broker=broker, retry=QUICK) as shop:
        await shop.record(cart(product="a"))
        server.pause()
        receipt = shop.track_nowait(cart(product="b"))
        await failed(shop, 1)
        server.go_on()
        assert await ended([receipt]) == {OutcomeStatus.PUBLISHED}
    assert await waiting_at(broker) == ["a", "b"]


async def test_a_stream_that_is_full(broker: JetStream) -> None:
    """Events wait until there is room."""
    channel = broker.channel()
    await channel.open()
    for size in (100_000, 50):
        await fill(channel, size)
    async with Publisher("shop", broker=broker, retry=QUICK) as shop:
        receipt = shop.track_nowait(cart(product="late"))
        await failed(shop, 3)
        assert not receipt.done()
        source = broker.source()
        await source.open()
        for lease in await source.take(4):
            await source.done(lease)
        await source.close()
        assert await ended([receipt]) == {OutcomeStatus.PUBLISHED}
    await channel.close()


async def test_what_is_larger_than_the_server_takes_is_rejected(tmp_path: Path) -> None:
    """With its size and the bound; the lane goes on."""
    server = await NatsServer(tmp_path, "max_payload: 400").start()
    try:
        broker = JetStream(server.url)
        await make_topology_in_small(broker)
        async with Publisher("shop", broker=broker) as shop:
            outcome = await shop.track_nowait(cart(product="p" * 250))
            assert outcome.status is OutcomeStatus.REJECTED
            assert "and the broker takes 400" in str(outcome.detail)
            assert (await shop.record(cart())).status is OutcomeStatus.PUBLISHED
    finally:
        server.stop()


async def test_what_is_too_large_by_its_headers_alone_breaks_no_connection(tmp_path: Path) -> None:
    """Each size around the bound is published or rejected, at its first attempt."""
    server = await NatsServer(tmp_path, "max_payload: 500").start()
    try:
        broker = JetStream(server.url)
        await make_topology_in_small(broker)
        async with Publisher("shop", broker=broker, coalescing="off") as shop:
            sizes = range(30, 130, 5)
            receipts = [shop.track_nowait(cart(f"v{size}", product="p" * size)) for size in sizes]
            assert await ended(receipts) == {OutcomeStatus.PUBLISHED, OutcomeStatus.REJECTED}
            assert shop.stats().retries == 0
    finally:
        server.stop()


async def make_topology_in_small(broker: JetStream) -> None:
    """Requests of the API are larger than 400 bytes: only the stream, tersely."""
    dialler = broker.dialler()
    connection = await dialler.connect()
    wanted = Topology(partitions=1)
    made = dict(_topology.plan(wanted, None, has_letters=True).requests[0].payload)
    kept = {name: made[name] for name in ("name", "subjects", "retention", "max_bytes", "metadata")}
    await connection.api("STREAM.CREATE.ALHENA", kept | {"num_replicas": 1})
    await connection.close()


async def test_another_number_of_partitions(broker: JetStream) -> None:
    """Whoever has the old one publishes nowhere, reads again, and goes on."""
    async with Publisher("shop", broker=broker, retry=QUICK) as shop:
        await shop.record(cart(product="a"))
        assert await waiting_at(broker) == ["a"]
        wanted = attrs.evolve(TOPOLOGY, partitions=7)
        dialler = broker.dialler()
        connection = await dialler.connect()
        for request in _topology.plan(wanted, TOPOLOGY, has_letters=True).changes:
            await connection.api(request.subject, request.payload)
        await connection.close()
        assert (await shop.record(cart(product="b"), timeout=PATIENCE)).status == "published"
    assert await waiting_at(broker) == ["b"]


async def test_a_stream_that_is_not_ours(server: NatsServer) -> None:
    """Nothing is published to it, and the log says what to do."""
    broker = JetStream(server.url)
    connection = await broker.dialler().connect()
    await connection.api("STREAM.CREATE.ALHENA", {"name": "ALHENA", "subjects": ["alhena.>"]})
    await connection.close()
    channel = broker.channel()
    with pytest.raises(Exception, match="not ours"):
        await channel.open()
    await channel.close()
    async with Publisher("shop", broker=broker, retry=QUICK) as shop:
        shop.track_nowait(cart())
        await asyncio.sleep(0.3)
        assert shop.stats().requests == 0
        await shop.close(0.0)


LOCKED = """
authorization { users: [
  {user: "admin", password: "a"}
  {user: "shop", password: "s%40", permissions: {
    publish: ["alhena.events.>", "$JS.API.STREAM.INFO.ALHENA"], subscribe: ["_INBOX.>"]}}
] }
"""


async def test_a_password_is_whatever_it_is(tmp_path: Path) -> None:
    """In the URL it is written as URLs are; beside it as it stands."""
    server = await NatsServer(tmp_path, LOCKED).start()
    try:
        await make_topology(JetStream(server.url, user="admin", password="a"), TOPOLOGY)
        url = server.url.replace("//", "//shop:s%2540@")
        for broker in (JetStream(url), JetStream(server.url, user="shop", password="s%40")):
            async with Publisher("shop", broker=broker) as shop:
                assert (await shop.record(cart())).ok
    finally:
        server.stop()


async def test_consumers_that_a_server_forgot_are_made_again(
    server: NatsServer, broker: JetStream
) -> None:
    """A single node forgets them as it restarts: whoever takes makes them, as `init` would."""
    async with Publisher("shop", broker=broker) as shop:
        await shop.record(cart(product="a"))
    server.kill()
    await server.start()
    assert await waiting_at(broker) == ["a"]


async def test_a_restart_with_a_journal_publishes_nothing_twice(
    server: NatsServer, broker: JetStream, tmp_path: Path
) -> None:
    """The server had it, and the process died before it heard so."""
    journal = tmp_path / "journal"
    first = Publisher("shop", broker=broker, journal=journal, coalescing="off")
    await first.start()
    for number in range(20):
        await first.track(cart("v", product=f"{number:02}"))
    report = await first.close(0.0)
    async with Publisher("shop", broker=broker, journal=journal) as second:
        await second.flush()
        assert second.stats().replayed == report.stats.kept
    assert await waiting_at(broker) == [f"{number:02}" for number in range(20)]


async def test_tls_is_never_left_out(server: NatsServer) -> None:
    """A server that offers none hears no name and no password."""
    channel = JetStream(server.url.replace("nats:", "tls:"), token="secret").channel()
    with pytest.raises(TransportError, match="offers no TLS"):
        await channel.open()
    await channel.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
async def test_a_server_is_spoken_to_by_tls(tmp_path: Path) -> None:
    """With a context of one's own; without it, its certificate is refused, and in time."""
    cert, key, context = certificate(tmp_path)
    tls = f'tls {{ cert_file: "{cert}", key_file: "{key}" }}'
    server = await NatsServer(tmp_path, tls).start()
    try:
        url = server.url.replace("nats:", "tls:")
        broker = JetStream(url, ssl=context)
        await make_topology(broker, TOPOLOGY)
        async with Publisher("shop", broker=broker) as shop:
            assert (await shop.record(cart())).status is OutcomeStatus.PUBLISHED
        stranger = JetStream(url).channel()
        with pytest.raises(TransportError):
            await stranger.open()
        await stranger.close()
    finally:
        server.stop()


def certificate(directory: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """Make a certificate for loopback, and the context that trusts it."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key, ssl.create_default_context(cafile=str(cert))
