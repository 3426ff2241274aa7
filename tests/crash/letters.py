"""Kill the replay of dead letters: `python -m tests.crash.letters --kills 100 --seed 1`.

Real directories of letters, the real command as a process, an emulator that takes its time. After
each kill, and in the end, what the disk says is held against what the API has.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import attrs

from alhena_async import OutcomeStatus
from alhena_async.emulator import Emulator, FaultPlan
from alhena_async.journal import DeadLetter, DeadLetters
from tests.cli_process import alhena, ended, started
from tests.journals import cart, opened, order
from tests.journals import ended as ending
from tests.patience import PATIENCE

__all__ = ["Figures", "main", "replay_and_kill"]

_IN_FLIGHT = 8

_LETTERS = 120
"""In one directory: a third carts, a third orders with an order id, a third without."""

_REPLAY = ("dead-letters", "replay", "j", "--max-in-flight", str(_IN_FLIGHT))


@attrs.define
class Figures:
    """What came of it."""

    kills: int = 0
    letters: int = 0
    in_doubt: int = 0
    """Orders without an order id that were under way at a kill: nobody knows, and it is said."""
    repeated: int = 0
    """Carts recorded twice: each was under way at a kill."""

    def add(self, other: Figures) -> None:
        """Add what came of another directory."""
        self.kills += other.kills
        self.letters += other.letters
        self.in_doubt += other.in_doubt
        self.repeated += other.repeated


async def replay_and_kill(base: Path, *, kills: int, seed: int) -> Figures:
    """Replay the letters of one directory, killed so many times at most, and then to the end.

    Args:
        base: An empty directory.
        kills: Fewer where the letters are all sent before.
        seed: Of the moments.

    Raises:
        AssertionError: A letter was lost, or sent twice without cause.
    """
    dice = random.Random(seed)
    figures = Figures(letters=_LETTERS)
    under_way: set[int] = set()
    async with Emulator() as emulator:
        emulator.plan(FaultPlan.parse(["latency=1:10ms"], seed=seed))
        await _write_letters(base / "j", emulator.url)
        while figures.kills < kills and emulator.recorded_count < _LETTERS - 3 * _IN_FLIGHT:
            await _kill_one(base, emulator, after=dice.randint(1, 30), pause=dice.random() / 20)
            figures.kills += 1
            letters = _letters(base / "j")
            sending = {one.id for one in letters if one.resent_status == "sending"}
            assert len(sending - under_way) <= _IN_FLIGHT, sending
            under_way |= sending
            _judge(letters, _recorded(emulator), under_way)
        done = await alhena(*_REPLAY, cwd=base)
        letters = _letters(base / "j")
        recorded = _recorded(emulator)
    _judge(letters, recorded, under_way)
    doubtful = [one for one in letters if one.resent_status == "sending"]
    settled = {OutcomeStatus.RECORDED, OutcomeStatus.DUPLICATE}
    assert all(one.resent_status in settled for one in letters if one not in doubtful), letters
    assert all(one.kind == "checkout" and one.order_id is None for one in doubtful), doubtful
    assert done.status == (1 if doubtful else 0), done
    assert not doubtful or f"{len(doubtful)} letter" in done.out, done.out
    figures.in_doubt = len(doubtful)
    figures.repeated = sum(count - 1 for count in recorded.values())
    return figures


async def _write_letters(directory: Path, destination: str) -> None:
    async with opened(directory, destination=destination) as journal:
        for number in range(1, _LETTERS + 1):
            order_id = f"A{number}" if number % 3 == 1 else None
            event = cart(number, of=number) if number % 3 == 0 else order(number, order_id=order_id)
            status = OutcomeStatus.EXPIRED
            journal.settle([ending(None, status, event=event, order_id=order_id)])
        await journal.sync()


async def _kill_one(base: Path, emulator: Emulator, *, after: int, pause: float) -> None:
    """Start a replay, and kill it a moment after so many requests."""
    until = emulator.requests + after
    async with started(*_REPLAY, cwd=base) as process:
        over = asyncio.create_task(process.wait())
        reached = asyncio.create_task(
            emulator.wait_until(lambda: emulator.requests >= until, timeout=PATIENCE)
        )
        await asyncio.wait({over, reached}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(pause)
        over.cancel()
        reached.cancel()
        if process.returncode is None:
            process.kill()
        await ended(process)


def _letters(directory: Path) -> list[DeadLetter]:
    with DeadLetters(directory) as box:
        return list(box.list())


def _recorded(emulator: Emulator) -> Counter[int]:
    """Return how often each letter was recorded: the product of each bears its number."""
    return Counter(
        int((one.product_id or one.line_items[0].product_id)[1:]) for one in emulator.recorded()
    )


def _judge(letters: list[DeadLetter], recorded: Counter[int], under_way: set[int]) -> None:
    """Hold the disk against the API.

    Args:
        letters: As the disk has them.
        recorded: How often each was recorded.
        under_way: Those that were marked as being sent at some kill.
    """
    assert [one.id for one in letters] == list(range(1, _LETTERS + 1))
    for letter in letters:
        times = recorded[letter.id]
        told = letter.resent_status in {"recorded", "duplicate"}
        assert times or not told, f"{letter} is said to be recorded, and is not"
        assert not times or letter.resent_status, f"{letter} is recorded, and waits to be sent"
        twice = letter.kind == "cart" and letter.id in under_way
        assert times <= 1 or twice, f"{letter} is recorded {times} times"


async def _run(kills: int, seed: int) -> Figures:
    figures = Figures()
    while figures.kills < kills:
        with tempfile.TemporaryDirectory() as base:
            rest = kills - figures.kills
            figures.add(await replay_and_kill(Path(base), kills=rest, seed=seed))
        seed += 1
        print(figures, flush=True)
    return figures


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="the first; each directory has its own")
    given = parser.parse_args()
    figures = asyncio.run(_run(given.kills, given.seed))
    print(
        f"{figures.kills} kills, {figures.letters} letters: none lost, no order sent twice; "
        f"{figures.in_doubt} orders without an id in doubt, {figures.repeated} carts sent twice, "
        "each of them under way at a kill"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
