"""After a fork: the child is refused, keeps nothing of its parent's, and ends in peace."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.journals import left_in, products
from tests.patience import PATIENCE

# A process of its own: pytest's has threads that a fork would not like. Its event loop runs in a
# second thread, so that the child ends as any program does, and does not share the loop's poll.
# The executor's module is imported first: its hooks for forks must not come about within one.
PARENT = """
import asyncio, concurrent.futures.thread, os, sys, threading, time
from alhena_async import JournalError
from tests.journals import append, cart, opened

begun, go_on, synced, end = (threading.Event() for _ in range(4))

async def live(directory):
    global journal
    async with opened(directory) as journal:
        for number in range(200):
            append(journal, cart(number))
        begun.set()
        await asyncio.to_thread(go_on.wait)
        await journal.sync()
        synced.set()
        await asyncio.to_thread(end.wait)

thread = threading.Thread(target=lambda: asyncio.run(live(sys.argv[1])))
thread.start()
begun.wait()
child = os.fork()  # the writer's thread is in the middle of something
if child == 0:
    refused = 0
    for call in (lambda: append(journal, cart(0)), lambda: journal.holds(1),
                 lambda: journal.settle([])):
        try:
            call()
        except JournalError as error:
            refused += "another process" in str(error)
    print("refused", refused, flush=True)
    {child}
{parent}
go_on.set()
end.set()
thread.join()
"""


def run(directory: Path, *, child: str, parent: str) -> subprocess.CompletedProcess[str]:
    """Run a parent that forks."""
    program = PARENT.format(child=child, parent=parent)
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, str(directory)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
        cwd=Path(__file__).parents[3], env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip


async def test_a_child_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    """It ends as any program does: the parent's file and lock stay the parent's."""
    done = await asyncio.to_thread(
        run, tmp_path / "j", child="sys.exit(0)", parent="assert os.waitpid(child, 0)[1] == 0"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "refused 3" in done.stdout
    assert products(await left_in(tmp_path / "j")) == [f"p{number}" for number in range(200)]


async def test_a_child_does_not_keep_a_dead_parents_file(tmp_path: Path) -> None:
    """The lock dies with the parent, though the child lives on."""
    done = await asyncio.to_thread(
        run,
        tmp_path / "j",
        # The child closes what would keep the pipe open, and outlives its parent by far.
        child="os.close(1); os.close(2); time.sleep(60); os._exit(0)",
        parent="go_on.set(); synced.wait(); print('child', child, flush=True);"
        "os.kill(os.getpid(), 9)",
    )
    # By its name: both write, and who comes last is not said.
    [child] = map(int, re.findall(r"child (\d+)", done.stdout))
    try:
        assert await left_in(tmp_path / "j")
        os.kill(child, 0)  # it is still there
    finally:
        os.kill(child, 9)
