"""What an outbox costs: `python -m benchmarks.outbox`, on a Postgres of its own over loopback.

`add`: a shop's transaction with it and without, taking turns. Then what one delivered event costs
a relay with 1,000 and with 1,000,000 rows waiting, of 1,000 visitors, the API at 0 ms; what 100,000
that are all delivered leave on disk. Then events a second with the API at 0, 5 and 50 ms, beside
JetStream's with 64 partitions.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

from alhena_async import Reply
from alhena_async.outbox import PostgresOutbox
from alhena_async.relay import Broker, JetStream, Parcel, Postgres, Relay
from alhena_async.relay._topology import Topology
from tests.nats_process import NatsServer, make_topology
from tests.outbox_shops import CREATE, INSERT, order_of
from tests.postgres_outbox import make_outbox
from tests.postgres_process import PostgresServer, postgres_server

VISITORS = 1_000

OK = Reply(200, b'{"status":"success","event_type":"CHECKOUT_EVENT_RECORDED"}')


class Answering:
    """A transport that answers in a time, and says so after some events."""

    def __init__(self, count: int, delay: float = 0.0) -> None:
        self.left = count
        self.delay = delay
        self.done = asyncio.Event()

    async def open(self) -> None:
        pass

    async def send(self, *_: Any, **__: Any) -> Reply:
        if self.delay:
            await asyncio.sleep(self.delay)
        self.left -= 1
        if self.left == 0:
            self.done.set()
        return OK

    async def close(self) -> None:
        pass


async def add(url: str, turns: int) -> None:
    """Show what `add` adds to a transaction."""
    outbox = PostgresOutbox("shop")
    connection = await asyncpg.connect(url)
    await connection.execute(CREATE)
    took: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(turns * 2):
        with_event = bool(turn % 2)
        began = time.perf_counter()
        async with connection.transaction():
            await connection.execute(INSERT.format(turn))
            if with_event:
                await outbox.add(connection, order_of(str(turn), f"v{turn % VISITORS}"))
        took[with_event].append(time.perf_counter() - began)
    await connection.execute("TRUNCATE alhena_outbox")
    await connection.close()
    for name, quantile in (("p50", 50), ("p99", 99)):
        with_, without = (
            statistics.quantiles(took[one], n=100)[quantile - 1] for one in (True, False)
        )
        print(
            f"add {name}: {with_ * 1e3:.3f} ms with, {without * 1e3:.3f} ms without, "
            f"{(with_ - without) * 1e3:.3f} ms for the event"
        )


async def fill(url: str, waiting: int) -> None:
    """Let rows wait, of visitors in turn."""
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE alhena_outbox, alhena_outbox_leases, alhena_outbox_orders")
    outbox = PostgresOutbox("shop")
    rows = [outbox.statement(order_of("ID", f"v{number}")).dollar[1] for number in range(VISITORS)]
    await connection.execute("CREATE TEMP TABLE seed (n int, lane bigint, body text)")
    await connection.copy_records_to_table(
        "seed", records=[(number, row[0], row[3]) for number, row in enumerate(rows)]
    )
    await connection.execute(f"""
        INSERT INTO alhena_outbox (lane, company_key, order_id, body)
        SELECT seed.lane, 'shop', 'O' || i, replace(seed.body, '"ID"', '"O' || i || '"')
        FROM generate_series(0, {waiting - 1}) i JOIN seed ON seed.n = i % {VISITORS} ORDER BY i
    """)
    await connection.execute("VACUUM ANALYZE alhena_outbox")
    await connection.close()


async def sizes(url: str) -> str:
    connection = await asyncpg.connect(url)
    table = await connection.fetchval("SELECT pg_table_size('alhena_outbox')")
    indexes = await connection.fetchval("SELECT pg_indexes_size('alhena_outbox')")
    orders = await connection.fetchval("SELECT pg_total_relation_size('alhena_outbox_orders')")
    await connection.close()
    return (
        f"table {table / 1e6:.1f} MB, indexes {indexes / 1e6:.1f} MB, "
        f"ids of delivered orders {orders / 1e6:.1f} MB"
    )


async def drain(broker: Postgres, url: str, waiting: int, count: int) -> float:
    """Return the seconds that one event takes."""
    await fill(url, waiting)
    transport = Answering(count)
    relay = Relay(broker=broker, transport=transport)
    began, cpu = time.perf_counter(), time.process_time()
    life = asyncio.create_task(relay.run())
    await transport.done.wait()
    took = time.perf_counter() - began
    cpu = time.process_time() - cpu
    relay.stop()
    await life
    print(
        f"{waiting:,} waiting: {count / took:,.0f} events/s, {took / count * 1e6:.0f} us each "
        f"({cpu / count * 1e6:.0f} us of them the relay's CPU); {await sizes(url)}"
    )
    return took / count


async def emptied(broker: Postgres, url: str, count: int) -> None:
    """Show what is left on disk once all is delivered, before and after a vacuum."""
    await drain(broker, url, count, count)
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM alhena_outbox, alhena_outbox_orders", timeout=600)
    left = await connection.fetchval("SELECT count(*) FROM alhena_outbox")
    await connection.close()
    print(f"all {count:,} delivered, {left} wait, vacuumed: {await sizes(url)}")


async def rates(broker: Postgres, url: str, count: int) -> None:
    """Show how fast both engines are drained, taking turns."""
    with tempfile.TemporaryDirectory() as home:
        nats = await NatsServer(Path(home)).start()
        stream = JetStream(nats.url)
        await make_topology(stream, Topology())
        for delay in (0.0, 0.005, 0.05):
            await fill(url, count)
            ours = await rate(broker, count, delay)
            await publish(stream, count, delay)
            theirs = await rate(stream, count, delay)
            print(
                f"API at {delay * 1e3:.0f} ms: {ours:,.0f} events/s from Postgres, "
                f"{theirs:,.0f} from JetStream"
            )
        nats.stop()


async def publish(stream: JetStream, count: int, delay: float) -> None:
    channel = stream.channel()
    await channel.open()
    outbox = PostgresOutbox("shop")
    for start in range(0, count, VISITORS):
        parcels = []
        for number in range(start, min(count, start + VISITORS)):
            row = outbox.statement(order_of(str(number), f"v{number % VISITORS}")).row
            assert row is not None
            name = f"{delay}-{number}"
            parcels.append(Parcel(id=name, lane=row.lane, body=row.body.encode()))
        await asyncio.gather(*map(channel.publish, parcels))
    await channel.close()


async def rate(broker: Broker, count: int, delay: float) -> float:
    transport = Answering(count, delay)
    relay = Relay(broker=broker, transport=transport)
    began = time.perf_counter()
    life = asyncio.create_task(relay.run())
    await transport.done.wait()
    took = time.perf_counter() - began
    relay.stop()
    await life
    return count / took


async def main(
    server: PostgresServer, *, waiting: int, count: int, turns: int, emptying: int
) -> None:
    broker = await make_outbox(server.url)
    await add(server.url, turns)
    few = await drain(broker, server.url, 1_000, 1_000)
    few = min(few, await drain(broker, server.url, 1_000, 1_000))
    many = await drain(broker, server.url, waiting, count)
    print(f"{many / few:.2f} times the cost per event with {waiting:,} rows waiting")
    await emptied(broker, server.url, emptying)
    await rates(broker, server.url, min(count, 10_000))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=20_000, help="delivered of them")
    parser.add_argument("--turns", type=int, default=1_000)
    parser.add_argument("--emptying", type=int, default=100_000, help="delivered, all of them")
    given = parser.parse_args()
    with postgres_server() as postgres:
        asyncio.run(main(postgres, **vars(given)))
