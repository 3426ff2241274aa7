"""Several real processes on one directory: each file has one owner, and each event one heir."""

import asyncio
import os
import sys
from pathlib import Path

from tests.journals import append, cart, committed, files_in, left_in, letters_in, opened, products

_ROOT = Path(__file__).parents[3]

# Opens when it is told to, takes over what it can, settles it, and says what it was.
HEIR = """
import asyncio, sys
from pathlib import Path
from alhena_async import JournalError, OutcomeStatus
from tests.journals import adopted, append, cart, ended, opened, products

async def kept(journal):
    while True:  # the others write their letters to the same file
        try:
            return await journal.sync()
        except JournalError:
            await asyncio.sleep(0.05)

async def main(directory, name):
    print("ready", flush=True)
    sys.stdin.readline()
    async with opened(directory) as journal:
        rows = await adopted(journal)
        own = append(journal, cart(int(name)))
        await journal.committed(own)
        print(*products(rows), flush=True)
        sys.stdin.readline()
        status = OutcomeStatus.REJECTED
        journal.settle([ended(place, status) for place in [own, *(row.row_id for row in rows)]])
        await kept(journal)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


async def heirs(directory: Path, count: int) -> list[str]:
    """Let so many processes start at once; return what each took over."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", HEIR, str(directory), str(1_000 + number),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        for number in range(count)
    ]  # fmt: skip
    lines = []
    for step in range(2):
        for process in processes:
            assert process.stdin
            assert process.stdout
            if step:
                lines.append((await process.stdout.readline()).decode().split())
            else:
                assert await process.stdout.readline() == b"ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write(b"go\n")
    for process in processes:
        await process.communicate()
        assert process.returncode == 0
    return [one for line in lines for one in line]


async def test_each_file_is_adopted_once(tmp_path: Path) -> None:
    """Four processes start at once beside eight dead ones' files; no event has two heirs."""
    for number in range(8):
        async with opened(tmp_path / "j") as journal:
            await committed(journal, [cart(10 * number + place) for place in range(5)])
    found = await heirs(tmp_path / "j", 4)
    assert sorted(found) == sorted(
        f"p{10 * number + place}" for number in range(8) for place in range(5)
    )
    # Each wrote its letters into the one file that all share; where the others kept it from that
    # for too long, as a slow machine may, its rows are left for the next.
    left = await left_in(tmp_path / "j")
    letters = letters_in(tmp_path / "j")
    assert len(letters) + len(left) == 44
    assert len({letter["origin"] for letter in letters}) == len(letters)
    if not left:
        assert [path.name for path in files_in(tmp_path / "j", "*")] == ["dead-letters.sqlite3"]


async def test_a_killed_process_leaves_its_file_to_the_next(tmp_path: Path) -> None:
    """Its lock ends with it, at once."""
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from tests.journals import cart, committed, opened\n"
        "async def main():\n"
        "    async with opened(Path(sys.argv[1])) as journal:\n"
        "        await committed(journal, [cart(number) for number in range(50)])\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "j"),
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    assert await process.wait() == -9
    assert products(await left_in(tmp_path / "j")) == [f"p{number}" for number in range(50)]


async def test_two_journals_of_one_process_share_a_directory(tmp_path: Path) -> None:
    """As two clients of one service do."""
    async with opened(tmp_path / "j") as first, opened(tmp_path / "j") as second:
        for number in range(20):
            append(first if number % 2 else second, cart(number))
    assert len(await left_in(tmp_path / "j")) == 20
