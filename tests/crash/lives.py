"""Real processes on one directory, killed at random, until the last one delivers what is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import attrs

from alhena_async.emulator import Emulator, FaultKind, FaultPlan, Recorded
from tests.crash.child import CAPACITY, MAX_IN_FLIGHT, running
from tests.crash.oracle import Account, Recording, judge
from tests.crash.turns import judge_turns
from tests.patience import PATIENCE

__all__ = ["Broken", "Figures", "live_and_die"]

_FAULTS = ("error=3%", "error-after=2%", "throttle=1%:10ms", "reset=3%", "truncated=1%")
_SLOWNESS = ("latency=20%:15ms", "latency=80%:25ms")
_DOUBTFUL = (FaultKind.STATUS, FaultKind.RESET_BEFORE)
"""Faults after which nobody knows either, though nothing was recorded."""
_AMBIGUOUS = (FaultKind.STATUS_AFTER, FaultKind.RESET_AFTER, FaultKind.TRUNCATED)
_MOST_REPEATED = MAX_IN_FLIGHT + CAPACITY
"""Events that a kill may repeat: in flight, or settled and not yet committed."""
_VISITORS = 6
_MOST_BEFORE = 40
"""Acceptances that are read at most before a process is killed: however slow the machine is, each
gets to work. Some are killed before their first."""
_KILLED = -signal.SIGKILL
_ROOT = Path(__file__).parents[2]


class Broken(AssertionError):  # noqa: N818  not an error of this program
    """A promise was broken; the message says which, and how to see it again."""


@attrs.define(kw_only=True)
class Figures:
    """Sums over directories."""

    kills: int = 0
    promised: int = 0
    spilled: int = 0
    """Promises of events that the disk alone had."""
    recorded: int = 0
    repeated: int = 0
    excusable: int = 0
    """Repetitions that the emulator's faults account for, at most."""
    unpromised: int = 0
    letters: int = 0
    doubtful: int = 0
    """Letters that the emulator's faults account for, at most."""
    compared: int = 0
    """Pairs of a visitor's events, accepted by different processes, whose order was promised."""

    def add(self, other: Figures) -> None:
        """Add another's sums."""
        for field in attrs.fields(Figures):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


async def live_and_die(
    directory: Path, *, seed: int, kills: int, capacity: int | None = None
) -> Figures:
    """Start and kill processes, let a last one finish, and judge.

    Args:
        directory: The journal's; it does not exist yet.
        seed: Decides how many live at once, their settings and when they die.
        kills: How many die.
        capacity: Events in memory, for each; None: the seed decides.

    Raises:
        Broken: A promise was broken.
    """
    dice = random.Random(seed)
    together = dice.choice([1, 2, 3, 3])
    config: dict[str, Any] = {
        "directory": str(directory),
        "visitors": _VISITORS,
        "synchronous": dice.choice(["FULL", "NORMAL"]),
        "assign_order_ids": dice.random() < 0.7,
        "retry_ambiguous_carts": dice.random() < 0.8,
        "seconds_between_looks": dice.choice([60.0, 0.05, 0.01]),
        "capacity": capacity or dice.choice([10 * CAPACITY, CAPACITY, 8, 3]),
    }
    plan = FaultPlan.parse((*_FAULTS, dice.choice(_SLOWNESS)), seed=seed)
    async with Emulator(faults=plan, history=200_000) as emulator:
        config["url"] = emulator.url
        names = iter(range(1, kills + 1))
        told: list[list[str]] = []
        """By each process."""

        async def keep_dying(number: int) -> None:
            own = random.Random(seed * 1000 + number)
            for name in names:
                lines = await _life({**config, "name": str(name)}, own)
                told.append(lines)

        async with asyncio.TaskGroup() as group:
            for number in range(together):
                group.create_task(keep_dying(number))
        told.append(await _finish(config))
        recordings = [_recording(one) for one in emulator.recorded()]
        excusable = sum(emulator.faulted.get(kind, 0) for kind in _AMBIGUOUS)
        doubtful = excusable + sum(emulator.faulted.get(kind, 0) for kind in _DOUBTFUL)
    letters = _letters(directory)
    accepted = [line.split() for lines in told for line in lines if line.startswith("accepted ")]
    account, sins = judge(
        [name for _, name, *_ in accepted],
        recordings,
        excused=letters,
        one_after_another=together == 1,
        carts_once=not config["retry_ambiguous_carts"],
    )
    turns = [judge_turns(lines, settled=letters) for lines in told]
    sins += [sin for each in turns for sin in each.sins]
    sins += _leftovers(directory)
    if account.repeated - excusable > kills * _MOST_REPEATED:
        sins.append(f"{account.repeated} repetitions, {excusable} of them excusable")
    if len(letters) - doubtful > kills * MAX_IN_FLIGHT:
        sins.append(f"{len(letters)} ended UNKNOWN, {doubtful} of them excusable")
    if sins:
        shown = "\n  ".join(sins[:20])
        raise Broken(
            f"seed {seed}, {kills} kills, {together} at once, {config}: {len(sins)} sins\n  {shown}"
        )
    return _figures(
        account,
        kills=kills,
        excusable=excusable,
        letters=len(letters),
        doubtful=min(doubtful, len(letters)),
        spilled=sum(spilled == "1" for *_, spilled in accepted),
        compared=sum(each.compared for each in turns),
    )


def _figures(account: Account, **more: int) -> Figures:
    return Figures(
        promised=account.promised,
        recorded=account.recorded,
        repeated=account.repeated,
        unpromised=account.unpromised,
        **more,
    )


async def _life(config: dict[str, Any], dice: random.Random) -> list[str]:
    """Let one process live for a moment; return what it told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.crash.child", json.dumps(config),
        stdout=asyncio.subprocess.PIPE, cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    before = max(0, dice.randint(-_MOST_BEFORE // 4, _MOST_BEFORE))
    try:
        async with asyncio.timeout(PATIENCE):
            up = await process.stdout.readline()
            assert up == b"up\n", "the process did not start"
            said = []
            while before:
                said.append(await process.stdout.readline())
                before -= said[-1].startswith(b"accepted ")
        reading = asyncio.ensure_future(process.stdout.read())
        await asyncio.sleep(dice.uniform(0.0, 0.2))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != _KILLED:
        raise Broken(f"a process ended by itself ({process.returncode}): {config}")
    *whole, rest = (b"".join(said) + await reading).split(b"\n")
    assert rest == b"", "half a line was read"
    return [line.decode() for line in whole]


async def _finish(config: dict[str, Any]) -> list[str]:
    """The last life delivers everything and ends in peace; return what it told."""
    told: list[str] = []
    async with running(config, told.append) as client:
        await client.flush(PATIENCE)
    return told


def _recording(one: Recorded) -> Recording:
    name = one.product_id or one.line_items[0].product_id
    return Recording(name=name, is_order=one.product_id is None, order_id=one.order_id)


def _letters(directory: Path) -> list[str]:
    """Names of events that ended as `UNKNOWN`; no other letter is expected."""
    path = directory / "dead-letters.sqlite3"
    if not path.exists():
        return []
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT status, body FROM letters").fetchall()
    finally:
        connection.close()
    strange = [status for status, _ in rows if status != "unknown"]
    if strange:
        raise Broken(f"dead letters that nothing explains: {strange}")
    bodies = [json.loads(body) for _, body in rows]
    return [body.get("product_id") or body["line_items"][0]["product_id"] for body in bodies]


def _leftovers(directory: Path) -> list[str]:
    kept = {"dead-letters.sqlite3"}
    names = [path.name for path in directory.iterdir() if path.suffix != ".counts"]
    return [f"{name} is left" for name in names if name not in kept]
