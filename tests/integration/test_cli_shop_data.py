"""Two real shops' logs through `alhena replay`. They stay where they are; nothing is copied."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from alhena_async.emulator import Emulator, EventKind, FaultPlan
from tests.cli_process import COSMETICS, ONLINE_RETAIL, Ended, alhena, needs_shop_data, rows

pytestmark = [pytest.mark.shop_data, needs_shop_data]


async def replay(emulator: Emulator, path: Path, tmp_path: Path, *more: str) -> Ended:
    where = ("--base-url", emulator.url, "--company-key", "shop", "--rejects", "rejects.jsonl")
    return await alhena("replay", path, *where, *more, cwd=tmp_path)


async def test_a_cosmetics_shop_without_names(tmp_path: Path) -> None:
    """All 1,506 lines are accounted for: 831 recorded, 675 rejected for their empty names."""
    async with Emulator() as emulator:
        run = await replay(emulator, COSMETICS, tmp_path)
        assert run.status == 1, run
        assert (emulator.recorded_count, emulator.refused_count) == (831, 0)
    rejects = rows(tmp_path / "rejects.jsonl")
    assert len(rejects) == 675
    assert all("product_name is empty" in reject["reason"] for reject in rejects)


async def test_a_cosmetics_shop_with_names_from_ids(tmp_path: Path) -> None:
    """With --name-from-id all 1,506 events are recorded, in each visitor's order."""
    async with Emulator() as emulator:
        run = await replay(emulator, COSMETICS, tmp_path, "--name-from-id")
        assert run.status == 0, run
        assert (emulator.recorded_count, emulator.refused_count) == (1506, 0)
        assert len(emulator.recorded(kind=EventKind.CHECKOUT)) == 18
    assert not (tmp_path / "rejects.jsonl").exists()


@pytest.mark.parametrize("faults", [[], ["error=10%", "reset=10%"]], ids=["calm", "faulty"])
async def test_a_gift_shop(tmp_path: Path, faults: list[str]) -> None:
    """5,215 of 5,754 orders are recorded once each, also under faults; 539 are told why not."""
    async with Emulator(faults=FaultPlan.parse(faults, seed=5)) as emulator:
        run = await replay(emulator, ONLINE_RETAIL, tmp_path, "--allow-rejects", "10%")
        assert run.status == 0, run
        orders = Counter(record.order_id for record in emulator.recorded())
        assert len(orders) == orders.total() == 5215
        # Repeats of what a lost answer had recorded are refused, and the client knows why.
        assert set(emulator.refusals) <= {"ORDER_ALREADY_EXISTS"}
        assert emulator.revenue == {"GBP": Decimal("2756381.95")}
    (row,) = [line.split() for line in run.out.splitlines() if line.startswith("GBP")]
    whole, recorded, missing = (Decimal(amount.replace(",", "")) for amount in row[1:])
    assert recorded == Decimal("2756381.95")
    assert whole == recorded + missing
    told = "5,215 of 5,754 orders recorded; 539 rejected: nothing of 2,756,381.95 GBP is missing."
    assert run.out.splitlines()[-1] == told  # those orders come to 0.00
    rejects = rows(tmp_path / "rejects.jsonl")
    quantities = [reject for reject in rejects if "quantity" in reject["reason"]]
    names = [reject for reject in rejects if "quantity" not in reject["reason"]]
    assert (len(rejects), len(quantities), len(names)) == (539, 348, 191)
    assert all("product_name" in reject["reason"] for reject in names)
