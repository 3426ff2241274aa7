"""See that relays find the next event by an index: `python -m tests.outbox_plan --rows 1000000`."""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Any, Final

import asyncpg

from alhena_async.relay._postgres_sql import DELIVERED_ORDERS, DONE, PROBE, SCAN, WAITING_ORDERS
from alhena_async.relay._postgres_table import Tables
from tests.postgres_outbox import make_outbox
from tests.postgres_process import postgres_server

__all__ = ["faults", "fill", "plans"]

LANES: Final = 1_000

_FILL: Final = """
INSERT INTO alhena_outbox (lane, company_key, body)
SELECT n % $1::int * 7919, 'shop', repeat('x', 200) FROM generate_series(1, $2::int) n
"""

_FILL_ORDERS: Final = """
INSERT INTO alhena_outbox_orders (company_key, order_id)
SELECT 'shop', 'O' || n FROM generate_series(1, $1::int) n
"""

_MAX_PAGES: Final = 10_000
"""Of 8 kB, for 256 events: some ten steps for each, in indexes that are four pages deep."""


async def fill(url: str, rows: int) -> None:
    """Let so many events wait, of 1,000 visitors in turn, and as many orders be delivered."""
    connection = await asyncpg.connect(url)
    await connection.execute(_FILL, LANES, rows, timeout=600)
    await connection.execute(_FILL_ORDERS, rows, timeout=600)
    await connection.close()


async def plans(url: str, *, analysed: bool) -> dict[str, str]:
    """Return what Postgres does for each statement that finds something."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    if analysed:
        await connection.execute("ANALYZE alhena_outbox, alhena_outbox_orders", timeout=600)
    lanes = ",".join(str(lane * 7919) for lane in range(256))
    questions: dict[str, tuple[Any, ...]] = {
        "SCAN": (SCAN, 256, 1, 60.0, -1),
        "PROBE": (PROBE, 256, 1, 60.0, lanes),
        "DONE": (DONE, lanes, lanes, lanes),
        "WAITING_ORDERS": (WAITING_ORDERS, "shop", '["O5", "O7", "none"]'),
        "DELIVERED_ORDERS": (DELIVERED_ORDERS, "shop", '["O5", "O7", "none"]'),
    }
    found = {}
    for name, (template, *arguments) in questions.items():
        transaction = connection.transaction()
        await transaction.start()
        explain = f"EXPLAIN (ANALYZE, BUFFERS) {Tables().put_into(template)}"
        rows = await connection.fetch(explain, *arguments, timeout=600)
        found[name] = "\n".join(row[0] for row in rows)
        await transaction.rollback()
    await connection.close()
    return found


def faults(plan: str) -> list[str]:
    """Return what is wrong with a plan: a table read from end to end, or more than an index has."""
    wrong = re.findall(r"Seq Scan on alhena_outbox(?:_orders)? \w+", plan)
    first = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", plan)
    pages = sum(int(one or 0) for one in first.groups()) if first else 0
    if pages > _MAX_PAGES:
        wrong.append(f"{pages:,} pages read")
    return wrong


async def main(rows: int) -> int:
    """Show the plans; return the exit status."""
    status = 0
    with postgres_server() as server:
        await make_outbox(server.url)
        await fill(server.url, rows)
        for analysed in (False, True):
            for name, plan in (await plans(server.url, analysed=analysed)).items():
                wrong = faults(plan)
                status |= bool(wrong)
                state = "after ANALYZE" if analysed else "never analysed"
                print(f"--- {name} at {rows:,} rows, {state}: {wrong or 'by the index'}\n{plan}")
    return status


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    raise SystemExit(asyncio.run(main(parser.parse_args().rows)))
