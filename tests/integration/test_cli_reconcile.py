"""`alhena reconcile`, as its own process, against a real emulator."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from alhena_async.emulator import Emulator, FaultPlan, Tickets
from tests.cli_process import Ended, alhena, cart, checkout, ended, lines_of, names_in, started
from tests.patience import PATIENCE

OWN = {"user_fingerprint": "fp", "user_faq_fingerprint": "faq"}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


async def reconcile(folder: Path, emulator: Emulator, *more: str) -> Ended:
    where = ("--base-url", emulator.url, "--company-key", "shop")
    return await alhena("reconcile", "orders.jsonl", *where, *more, cwd=folder)


def write(folder: Path, *events: dict[str, Any]) -> None:
    (folder / "orders.jsonl").write_bytes(lines_of(*events))


def found(run: Ended) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run.out)
    return report


async def test_it_tells_what_was_there_and_records_the_rest(
    tmp_path: Path, emulator: Emulator
) -> None:
    """Earned = there already + recorded now, in orders and money; a second run finds it all."""
    orders = [checkout(n, value=n + 0.25, currency="EUR" if n % 2 else "USD") for n in range(10)]
    write(tmp_path, *orders[:4])
    where = ("--base-url", emulator.url, "--company-key", "shop")
    assert (await alhena("replay", "orders.jsonl", *where, cwd=tmp_path)).status == 0
    (tmp_path / "orders.progress.jsonl").unlink()
    write(tmp_path, *orders)
    run = await reconcile(tmp_path, emulator)
    assert run.status == 0, run
    table = [line.split() for line in run.out.splitlines()]
    assert ["Orders", "10", "4", "6", "0"] in table
    assert ["EUR", "26.25", "4.50", "21.75", "0.00"] in table
    assert ["USD", "21.25", "2.50", "18.75", "0.00"] in table
    assert run.out.splitlines()[-1] == "10 of 10 orders recorded: 26.25 EUR and 21.25 USD."
    assert "The API cannot be read" in run.out
    assert "24 hours" in run.out
    again = found(await reconcile(tmp_path, emulator, "--json"))
    assert again["there_already"] == again["earned"] == {
        "orders": 10, "sums": {"EUR": "26.25", "USD": "21.25"},
    }  # fmt: skip
    assert again["recorded_now"] == {"orders": 0, "sums": {}}
    assert again["all_recorded"] is again["whole"] is True
    assert len(again["cannot_know"]) == 2
    assert emulator.recorded_count == 10
    assert names_in(tmp_path) == ["orders.jsonl"]


async def test_what_cannot_be_recorded_has_its_reason(tmp_path: Path) -> None:
    """By the rules, for want of an id or of a conversation: then the status is 1."""
    write(
        tmp_path,
        checkout(1, value=10, **OWN),
        checkout(1, value=10, **OWN),
        checkout(1, value=11, **OWN),
        checkout(2, value=20, order_id=None, **OWN),
        checkout(3, value=30),
        checkout(4, value=40, line_items=[], **OWN),
        cart(5),
        {"kind": "refund"},
    )
    async with Emulator(tickets=Tickets.OPENED) as emulator:
        emulator.open_ticket(("fp", "faq"))
        run = await reconcile(tmp_path, emulator, "--json")
        assert [record.order_id for record in emulator.recorded()] == ["A1"]
        shown = await reconcile(tmp_path, emulator)
    report = found(run)
    assert (run.status, shown.status) == (1, 1)
    assert report["earned"] == {"orders": 5, "sums": {"EUR": "111.00"}}
    assert report["recorded_now"] == {"orders": 1, "sums": {"EUR": "10.00"}}
    assert report["not_recordable"] == {"orders": 4, "sums": {"EUR": "101.00"}}
    reasons = {one["reason"]: one["sums"]["EUR"] for one in report["reasons"]}
    assert reasons == {
        "its order_id stands further up, with another total": "11.00",
        "it has no order_id, and would count once more with each run": "20.00",
        "line_items must hold at least one LineItem": "40.00",
        "ACTIVE_TICKET_NOT_FOUND": "30.00",
    }
    counted = ("cart_lines", "repeated_lines", "unreadable_lines")
    assert [report[name] for name in counted] == [1, 1, 1]
    assert report["all_recorded"] is False
    last = "1 of 5 orders recorded: 101.00 EUR of 111.00 EUR missing."
    assert shown.out.splitlines()[-1] == last
    assert "ACTIVE_TICKET_NOT_FOUND" in shown.out


async def test_a_lost_answer_is_no_order_that_was_there(tmp_path: Path, emulator: Emulator) -> None:
    """Recorded by a request whose answer broke off is recorded now."""
    emulator.plan(FaultPlan.parse(["error-after=50%"], seed=3))
    write(tmp_path, *map(checkout, range(20)))
    report = found(await reconcile(tmp_path, emulator, "--json"))
    assert report["recorded_now"]["orders"] == emulator.recorded_count == 20
    assert report["there_already"]["orders"] == 0


async def test_without_an_order_nothing_is_even(tmp_path: Path, emulator: Emulator) -> None:
    """A file of cart events is no proof of anything."""
    write(tmp_path, cart(1))
    run = await reconcile(tmp_path, emulator)
    assert (run.status, emulator.requests) == (1, 0), run
    assert run.out.splitlines()[-1] == "0 of 0 orders recorded."


async def test_a_mistyped_key_is_one_sentence(tmp_path: Path) -> None:
    """Not a table of orders that are missing."""
    write(tmp_path, *map(checkout, range(50)))
    async with Emulator(companies=["other"]) as emulator:
        run = await reconcile(tmp_path, emulator)
    assert (run.status, run.out) == (1, ""), run
    assert 'knows no company key "shop"' in run.err


async def test_ctrl_c_tells_how_far_it_came(tmp_path: Path, emulator: Emulator) -> None:
    """What is recorded stays so, and the next run finds it there."""
    write(tmp_path, *map(checkout, range(100)))
    emulator.plan(FaultPlan.parse(["latency=1:50ms"]))
    where = ("--base-url", emulator.url, "--company-key", "shop", "--max-in-flight", "2")
    async with started(
        "reconcile", "orders.jsonl", *where, "--drain", "0", cwd=tmp_path
    ) as process:
        await emulator.wait_until(lambda: emulator.recorded_count >= 5, timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        run = await ended(process)
    assert run.status == 130, run
    assert run.out.splitlines()[-1].startswith("So far, ")
    assert "Interrupted: run it again" in run.err
    emulator.plan(FaultPlan())
    report = found(await reconcile(tmp_path, emulator, "--json"))
    assert report["all_recorded"]
    assert report["there_already"]["orders"] >= 5
    assert emulator.recorded_count == 100
