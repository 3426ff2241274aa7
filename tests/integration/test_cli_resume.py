"""Interrupted runs go on: real signals, real kills, real processes."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from alhena_async.emulator import Emulator, FaultPlan
from tests.cli_process import Ended, alhena, cart, checkout, ended, lines_of, rows, started, write
from tests.patience import PATIENCE

LINES = 300
IN_FLIGHT = 4
ORDERS = [checkout(number, value=number + 0.25) for number in range(0, LINES, 3)]


def day() -> Iterator[bytes]:
    orders = iter(ORDERS)
    for number in range(LINES):
        yield lines_of(next(orders) if number % 3 == 0 else cart(number))


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    # Recorded on arrival, answered later: a kill finds requests in exactly the bad place.
    async with Emulator(faults=FaultPlan.parse(["latency=1:30ms"])) as emulator:
        yield emulator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"".join(day()))
    return path


def arguments(emulator: Emulator, *more: str) -> tuple[str, ...]:
    where = ("--base-url", emulator.url, "--company-key", "shop")
    return ("replay", "day.jsonl", *where, "--max-in-flight", str(IN_FLIGHT), *more)


async def stopped_by(number: int, emulator: Emulator, path: Path, *more: str) -> Ended:
    """Run until half a hundred more events are recorded, then send a signal."""
    before = emulator.recorded_count
    async with started(*arguments(emulator, *more), cwd=path.parent) as process:
        await emulator.wait_until(lambda: emulator.recorded_count >= before + 50, timeout=PATIENCE)
        process.send_signal(number)
        return await ended(process)


def arrivals(emulator: Emulator) -> Counter[str]:
    """How often each line's event was recorded."""
    return Counter(record.order_id or record.product_id or "" for record in emulator.recorded())


async def resumed(emulator: Emulator, path: Path) -> Ended:
    return await alhena(*arguments(emulator, "--resume"), cwd=path.parent)


def expect_all(run: Ended, emulator: Emulator) -> None:
    assert run.status == 0, run
    assert len(arrivals(emulator)) == LINES
    total = sum((Decimal(str(order["value"])) for order in ORDERS), Decimal(0))
    assert emulator.revenue == {"EUR": total}
    # What the last run tells is the sum over all of them.
    told = f"{total.normalize():,.2f}"
    assert ["EUR", told, told, "0.00"] in [line.split() for line in run.out.splitlines()]
    assert run.out.splitlines()[-1] == f"100 of 100 orders recorded: {told} EUR."


async def test_after_kill_9_it_goes_on(emulator: Emulator, path: Path) -> None:
    """Killed three times, every line arrives; repeated is at most what was in flight."""
    for option in ((), ("--resume",), ("--resume",)):
        run = await stopped_by(signal.SIGKILL, emulator, path, *option)
        assert run.status == -signal.SIGKILL
    expect_all(await resumed(emulator, path), emulator)
    repeated = arrivals(emulator).total() - LINES
    assert 0 <= repeated <= 3 * IN_FLIGHT
    assert all(arrivals(emulator)[order["order_id"]] == 1 for order in ORDERS)


async def test_ctrl_c_drains_and_goes_on(emulator: Emulator, path: Path) -> None:
    """Ctrl-C delivers what is under way, says what is left and how to go on; nothing repeats."""
    run = await stopped_by(signal.SIGINT, emulator, path, "--outstanding", "20")
    assert run.status == 130, run
    done = sum("line" in row for row in rows(path.with_name("day.progress.jsonl")))
    assert done == emulator.recorded_count
    assert f"Left: {LINES - done} lines of {LINES}." in run.out
    assert "alhena replay --resume day.jsonl" in run.out
    expect_all(await resumed(emulator, path), emulator)
    assert arrivals(emulator).total() == LINES


async def test_sigterm_drains_too(emulator: Emulator, path: Path) -> None:
    """SIGTERM is Ctrl-C with status 143."""
    run = await stopped_by(signal.SIGTERM, emulator, path, "--outstanding", "20")
    assert run.status == 143, run
    expect_all(await resumed(emulator, path), emulator)
    assert arrivals(emulator).total() == LINES


async def test_what_the_drain_leaves_is_sent_on_resume(emulator: Emulator, path: Path) -> None:
    """With no time to drain, what was under way is left, and sent by the next run."""
    run = await stopped_by(signal.SIGINT, emulator, path, "--drain", "0")
    assert run.status == 130, run
    assert "abandoned" in run.out
    expect_all(await resumed(emulator, path), emulator)
    assert arrivals(emulator).total() - LINES <= IN_FLIGHT


async def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """While it drains towards an API that never answers, a second Ctrl-C ends it."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(*map(cart, range(50))))
    async with Emulator(faults=FaultPlan.parse(["hang=1"])) as emulator:
        command = arguments(emulator, "--drain", "600")
        async with started(*command, cwd=tmp_path) as process:
            await emulator.wait_until(lambda: emulator.requests > 0, timeout=PATIENCE)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            while b"Stopping" not in await process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            run = await ended(process)
    assert run.status == 130
    assert "Left: 50 lines of 50." in run.out


async def test_ctrl_c_before_the_first_line(tmp_path: Path, emulator: Emulator) -> None:
    """Waiting for a pipe that nobody writes to, Ctrl-C ends it: no thread keeps it alive."""
    pipe = asyncio.subprocess.PIPE
    where = ("--base-url", emulator.url, "--company-key", "shop")
    async with started("replay", "-", *where, cwd=tmp_path, stdin=pipe) as process:
        assert process.stderr is not None
        while b"Replaying" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 130


async def test_another_input_is_not_gone_on_with(emulator: Emulator, path: Path) -> None:
    """--resume with a file that was changed since is refused with the reason, and sends nothing."""
    await stopped_by(signal.SIGINT, emulator, path)
    recorded = emulator.recorded_count
    write(path, lines_of(cart(5000)) + b"".join(day()))
    run = await resumed(emulator, path)
    assert run.status == 2, run
    assert "another input" in run.err
    assert emulator.recorded_count == recorded


async def test_what_was_added_is_sent(emulator: Emulator, path: Path) -> None:
    """A file that has grown is gone on with from where it ended: complete, or interrupted."""
    await stopped_by(signal.SIGINT, emulator, path)
    for number in (5000, 5001):
        with path.open("ab") as file:
            file.write(lines_of(cart(number)))
        refused = await alhena(*arguments(emulator), cwd=path.parent)
        assert refused.status == 2
        assert "--resume" in refused.err
        run = await resumed(emulator, path)
        assert run.status == 0, run
    assert arrivals(emulator).total() == len(arrivals(emulator)) == LINES + 2


async def test_what_is_added_meanwhile_is_noticed(emulator: Emulator, path: Path) -> None:
    """What came after the end was read is not said to be sent, and --resume sends it."""
    write(path, lines_of(*map(cart, range(5))))
    slow = ("--rate", "5/s")
    async with started(*arguments(emulator, *slow), cwd=path.parent) as process:
        await emulator.wait_until(lambda: emulator.recorded_count >= 1, timeout=PATIENCE)
        with path.open("ab") as file:
            file.write(lines_of(cart(5000)))
        run = await ended(process)
    assert run.status == 1, run
    assert "day.jsonl has grown meanwhile: more stands behind line 5." in run.out
    assert "Every line was recorded" not in run.out
    assert '"complete"' not in path.with_name("day.progress.jsonl").read_text()
    assert "alhena replay --resume day.jsonl" in run.out
    assert (await resumed(emulator, path)).status == 0
    assert arrivals(emulator).total() == 6


async def test_another_file_of_the_same_name_is_another_run(emulator: Emulator, path: Path) -> None:
    """Tuesday's orders are sent although Monday's were, and Monday's rest is not forgotten."""
    for name, first in (("mon", 0), ("tue", 100)):
        (path.parent / name).mkdir()
        write(path.parent / name / "day.jsonl", lines_of(*map(cart, range(first, first + 5))))
    where = arguments(emulator)[2:]
    for name, told in (("mon", ""), ("tue", "was of another input: started over")):
        run = await alhena("replay", f"{name}/day.jsonl", *where, cwd=path.parent)
        assert run.status == 0, run
        assert told in run.err
    assert arrivals(emulator).total() == 10
    path.with_name("day.progress.jsonl").unlink()
    await stopped_by(signal.SIGINT, emulator, path)
    run = await alhena("replay", "mon/day.jsonl", *where, cwd=path.parent)
    assert run.status == 2, run
    assert "is of another input: give another --progress, or --restart" in run.err


async def test_an_interrupted_run_is_not_begun_anew_by_mistake(
    emulator: Emulator, path: Path
) -> None:
    """Without --resume or --restart an interrupted run is not sent all over again."""
    await stopped_by(signal.SIGKILL, emulator, path)
    recorded = emulator.recorded_count
    run = await alhena(*arguments(emulator), cwd=path.parent)
    assert run.status == 2, run
    assert "--restart" in run.err
    assert emulator.recorded_count == recorded


async def test_a_complete_run_is_not_sent_twice_by_mistake(emulator: Emulator, path: Path) -> None:
    """The same command again is refused; --resume finds nothing left; --restart sends it again."""
    write(path, lines_of(*map(cart, range(5))))
    for more, status, recorded, told in (
        ((), 0, 5, "5 of 5 cart events recorded."),
        ((), 2, 5, "--restart sends it all again"),
        (("--resume",), 0, 5, "Nothing was left to send."),
        (("--restart",), 0, 10, "5 of 5 cart events recorded."),
    ):
        run = await alhena(*arguments(emulator, *more), cwd=path.parent)
        assert (run.status, emulator.recorded_count) == (status, recorded), run
        assert told in run.out + run.err


async def test_folded_events_go_on_too(emulator: Emulator, path: Path) -> None:
    """With coalescing, a killed run goes on, and every cart ends as it would have."""
    changes = [
        cart(number % 20, type="QUANTITY_INCREASED", quantity=2 + number // 20, visitor=visitor)
        for number, visitor in zip(range(600), itertools.cycle(("one", "two")), strict=False)
    ]
    write(path, lines_of(*changes))
    more = ("--coalescing", "latest", "--outstanding", "40")
    before = emulator.recorded_count
    async with started(*arguments(emulator, *more), cwd=path.parent) as process:
        await emulator.wait_until(lambda: emulator.recorded_count >= before + 10, timeout=PATIENCE)
        process.kill()
        await ended(process)
    run = await alhena(*arguments(emulator, *more, "--resume"), cwd=path.parent)
    assert run.status == 0, run
    assert set(emulator.carts.values()) == {Decimal(31)}
    assert len(emulator.carts) == 20
