"""`alhena status` and `alhena tail` on real processes: living, ended, and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from alhena_async.emulator import Emulator, FaultPlan, Tickets
from tests.cli_process import Ended, alhena, ended, started
from tests.journals import committed, files_in, order
from tests.journals import opened as journal_opened
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]

# Each line on its standard input is how many events to track: of as many visitors, whom nobody
# else has. Its standard input's end is its own.
WORKER = """
import asyncio, sys
from alhena_async import AlhenaClient
from tests.journals import cart

async def main():
    url, directory, first, key = sys.argv[1:]
    number = int(first)
    async with AlhenaClient(key, base_url=url, journal=directory) as client:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            for number in range(number, number + int(line)):
                await client.track(cart(number, of=number))
            print("tracked", flush=True)
    print("closed", flush=True)

asyncio.run(main())
"""


class Worker:
    """One process with a client."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def said(self, word: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert (await self.process.stdout.readline()).decode().strip() == word

    async def track(self, number: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n".encode())
        await self.said("tracked")

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.said("closed")
        await self.process.wait()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def worker(url: str, directory: Path, first: int, key: str = "shop") -> AsyncIterator[Worker]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, url, str(directory), str(first), key,
        stdin=PIPE, stdout=PIPE, cwd=ROOT,
    )  # fmt: skip
    one = Worker(process)
    try:
        await one.said("ready")
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def status(directory: Path) -> tuple[int, dict[str, Any]]:
    done = await alhena("status", directory, "--json", cwd=directory.parent)
    assert done.err == ""
    return done.status, json.loads(done.out)


async def status_once(directory: Path, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look until it is so: processes tell of themselves every two seconds."""
    async with asyncio.timeout(PATIENCE):
        while not holds(seen := (await status(directory))[1]):
            pass
    return seen


def states(seen: dict[str, Any]) -> dict[int, str]:
    return {one["pid"]: one["state"] for one in seen["processes"]}


async def test_all_processes_and_their_sum(tmp_path: Path) -> None:
    """One that lives, one that ended, one that was killed with events left: exactly theirs."""
    directory = tmp_path / "j"
    async with (
        Emulator() as emulator,
        worker(emulator.url, directory, 1000) as living,
        worker(emulator.url, directory, 2000) as ending,
    ):
        await living.track(7)
        await ending.track(5)
        await ending.close()
        await emulator.wait_until(lambda: emulator.recorded_count == 12, timeout=PATIENCE)
        seen = await status_once(directory, lambda seen: seen["total"]["recorded"] == 12)
        assert states(seen) == {living.process.pid: "living", ending.process.pid: "ended"}
        assert [one["accepted"] for one in seen["processes"]] == [7, 5]
        assert (await status(directory))[0] == 0
        assert seen["total"]["accepted"] == 12
        assert (seen["total"]["waiting"], seen["total"]["oldest"]) == (0, None)
        assert (seen["total"]["breaker"], seen["total"]["refused"]) == ("closed", {})
        assert seen["problems"] == []

        emulator.plan(FaultPlan.parse(["hang=1"]))
        async with worker(emulator.url, directory, 3000) as doomed:
            await doomed.track(3)
            await status_once(
                directory, lambda seen: states(seen).get(doomed.process.pid) == "living"
            )
            await doomed.kill()
        code, seen = await status(directory)
        assert code == 1
        (died,) = (one for one in seen["processes"] if one["state"] == "died")
        assert (died["pid"], died["waiting"]) == (doomed.process.pid, 3)
        assert died["oldest"] > 0
        assert seen["left"]["events"] == seen["total"]["waiting"] == 3
        people = await alhena("status", directory, cwd=tmp_path)
        assert people.status == 1
        assert "3 events left by processes that are gone" in people.out
        assert "\x1b" not in people.out + people.err
        await living.kill()


async def lived(emulator: Emulator, directory: Path, key: str = "shop") -> None:
    """A worker that sent two events, and has ended in order."""
    async with worker(emulator.url, directory, 1, key) as one:
        await one.track(2)
        await one.close()


async def test_what_the_api_refused_is_told_by_code(tmp_path: Path) -> None:
    """A visitor without a conversation is the usual case, and calls nobody."""
    directory = tmp_path / "j"
    async with Emulator(companies=["shop"]) as emulator:
        await lived(emulator, directory, "nobody")
        code, seen = await status(directory)
        assert (code, seen["total"]["refused"]) == (1, {"COMPANY_NOT_FOUND": 2})
    async with Emulator(tickets=Tickets.OPENED) as emulator:
        await lived(emulator, tmp_path / "k")
    code, seen = await status(tmp_path / "k")
    assert (code, seen["total"]["refused"]) == (0, {"ACTIVE_TICKET_NOT_FOUND": 2})


async def test_a_hostile_file_takes_nothing_with_it(tmp_path: Path) -> None:
    """It is named, and the others are told of."""
    directory = tmp_path / "j"
    async with journal_opened(directory) as journal:
        await committed(journal, [order(1)])
    (directory / "1-00000000.counts").write_bytes(b"\x1b[2J" * 20_000)
    code, seen = await status(directory)
    assert code == 1
    assert (seen["processes"], seen["left"]["events"]) == ([], 1)
    assert "1-00000000.counts" in seen["problems"][0]


@pytest.mark.parametrize("command", ["status", "tail"])
async def test_where_no_journal_is_nothing_is_made(tmp_path: Path, command: str) -> None:
    """Status 2, and a sentence; the directory stays as it was."""
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        done = await alhena(command, name, cwd=tmp_path)
        assert (done.status, done.out) == (2, "")
        assert name in done.err
    assert list((tmp_path / "empty").iterdir()) == []


async def interrupted(process: Process) -> Ended:
    process.send_signal(signal.SIGINT)
    return await ended(process)


async def lines_of(process: Process, count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        return [json.loads(await process.stdout.readline()) for _ in range(count)]


async def test_watching_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    """A line each time, for programs."""
    async with (
        Emulator() as emulator,
        worker(emulator.url, tmp_path / "j", 1) as one,
        started("status", "j", "--json", "--watch", "--every", "0.1", cwd=tmp_path) as watching,
    ):
        await one.track(2)
        async with asyncio.timeout(PATIENCE):
            while (await lines_of(watching, 1))[0]["total"]["recorded"] != 2:
                pass
        assert (await interrupted(watching)).status == 130
        await one.close()


async def until_watched(directory: Path) -> None:
    """Wait until the process writes its outcomes."""
    async with asyncio.timeout(PATIENCE):
        while not files_in(directory, "*.outcomes"):  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.05)


async def test_several_may_watch_outcomes_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    """Each sees all that come after it, of all processes; no fingerprint, no product."""
    directory = tmp_path / "j"
    async with (
        Emulator(companies=["shop"]) as emulator,
        worker(emulator.url, directory, 1) as one,
        worker(emulator.url, directory, 50, "nobody") as other,
        started("tail", "j", "--json", cwd=tmp_path) as first,
        started("tail", "j", "--json", cwd=tmp_path) as second,
    ):
        async with asyncio.timeout(PATIENCE):
            while len(files_in(directory, "*.outcomes")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while len(files_in(directory, "*.watching")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await one.track(3)
        await other.track(2)
        for process in (first, second):
            seen = await lines_of(process, 5)
            mine = [told for told in seen if told["pid"] == one.process.pid]
            assert [(told["event"], told["outcome"]) for told in mine] == [("cart", "recorded")] * 3
            others = [told["code"] for told in seen if told["pid"] == other.process.pid]
            assert others == ["COMPANY_NOT_FOUND"] * 2
            keys = {"at", "pid", "event", "outcome", "code", "attempts", "seconds"}
            assert all(set(told) == keys for told in seen)
        assert (await interrupted(first)).status == 130
        second.kill()  # its lock goes with it
        await second.wait()
        async with asyncio.timeout(PATIENCE):
            while files_in(directory, "*.outcomes"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await one.close()
        await other.close()


async def test_people_see_a_line_for_each_outcome(tmp_path: Path) -> None:
    """Until the one who reads has seen enough."""
    async with (
        Emulator() as emulator,
        worker(emulator.url, tmp_path / "j", 1) as one,
        started("tail", "j", cwd=tmp_path) as tail,
    ):
        await until_watched(tmp_path / "j")
        await one.track(2)
        assert tail.stdout is not None
        async with asyncio.timeout(PATIENCE):
            lines = [(await tail.stdout.readline()).decode() for _ in range(2)]
        assert all("cart" in line and "recorded" in line for line in lines), lines
        assert str(one.process.pid) in lines[0]
        assert "550e8400" not in "".join(lines)
        await one.close()


async def test_what_was_sent_again_and_recorded_calls_nobody_any_more(tmp_path: Path) -> None:
    """The counts stay; the list of letters says what to do, until there is nothing to do."""
    directory = tmp_path / "j"
    async with Emulator(companies=["shop"]) as emulator:
        await lived(emulator, directory, "nobody")
        told = (await alhena("dead-letters", "list", directory, cwd=tmp_path)).out
        assert f"alhena dead-letters show {directory} 1\n" in told
        assert f"alhena dead-letters replay {directory}\n" in told
        assert (await status(directory))[0] == 1
        people = (await alhena("status", directory, cwd=tmp_path)).out
        assert f"alhena dead-letters list {directory}" in people
        again = await alhena("dead-letters", "replay", directory, "--send-as", "shop", cwd=tmp_path)
        assert again.status == 0
    code, seen = await status(directory)
    assert (code, seen["total"]["refused"]) == (0, {"COMPANY_NOT_FOUND": 2})
    told = (await alhena("dead-letters", "list", directory, cwd=tmp_path)).out
    assert "2 dead letters" in told
    assert "alhena" not in told
