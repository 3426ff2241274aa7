"""`alhena demo`, `alhena emulate`, and the command without its extra."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from alhena_async.cli._format import money
from tests.cli_process import ALHENA, alhena, cart, checkout, ended, lines_of, names_in, started


def sums(out: str) -> dict[str, list[str]]:
    """The revenue table: currency -> what stands in its columns."""
    _, _, table = out.partition("Revenue")
    rows = [line.split() for line in table.splitlines()[1:]]
    return {row[0]: row[1:] for row in rows if row and re.fullmatch("[A-Z]{3}", row[0])}


async def test_the_made_up_day_is_recorded_whole(tmp_path: Path) -> None:
    """0 refusals, and input, recorded and page agree to the cent in every currency."""
    run = await alhena("demo", cwd=tmp_path)
    assert run.status == 0, run
    assert "0 refusals; the page's revenue equals the input's to the cent." in run.out
    assert len(sums(run.out)) == 4
    for made_up, recorded, not_recorded, on_page in sums(run.out).values():
        assert made_up == recorded == on_page
        assert not_recorded == "0.00"
    assert "\x1b" not in run.out + run.err
    assert re.search(r"http://127\.0\.0\.1:\d+/", run.out)
    assert names_in(tmp_path) == []


async def test_faults_lose_nothing(tmp_path: Path) -> None:
    """With errors, resets, throttling and halves of answers, the sums agree all the same."""
    (tmp_path / "day.jsonl").write_bytes(
        lines_of(
            *(checkout(n, value=n / 8, currency="EUR") for n in range(200)), *map(cart, range(200))
        )
    )
    faults = ("error=5%", "error-after=5%:502", "reset=5%", "truncated=5%", "html=5%")
    options = [part for fault in faults for part in ("--fault", fault)]
    run = await alhena("demo", "day.jsonl", *options, "--seed", "4", cwd=tmp_path)
    assert run.status == 0, run
    total = money(sum((Decimal(n) / 8 for n in range(200)), Decimal(0)))
    assert sums(run.out) == {"EUR": [total, total, "0.00", total]}
    assert not re.search(r"\b0 retries", run.out)


async def test_refusals_are_explained(tmp_path: Path) -> None:
    """With lenient preconditions the refusals are counted by code, and the status is 0."""
    (tmp_path / "day.jsonl").write_bytes(
        lines_of(cart(1), cart(2, type="ITEM_REMOVED", quantity=0))
    )
    run = await alhena("demo", "day.jsonl", "--preconditions", "lenient", cwd=tmp_path)
    assert run.status == 0, run
    assert "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND" in run.out
    assert "1 refusal, each with its code" in run.out


async def test_refusals_without_a_code_are_a_failure(tmp_path: Path) -> None:
    """What ends refused without a code is told by its HTTP status, and the status is 1."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(*map(cart, range(4))))
    run = await alhena("demo", "day.jsonl", "--fault", "error=1:404", cwd=tmp_path)
    assert run.status == 1, run
    assert ["HTTP", "404", "4"] in [line.split() for line in run.out.splitlines()]
    assert "4 events neither recorded nor refused" in run.out
    assert "0 refusals" not in run.out


async def test_bad_lines_of_a_day_are_told(tmp_path: Path) -> None:
    """A day of one's own may have lines that are no events: then not all is well."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1), cart(2, product_name="")) + b"{\n")
    run = await alhena("demo", "day.jsonl", cwd=tmp_path)
    assert run.status == 1, run
    assert "product_name is empty" in run.out
    assert "2 rejected" in run.out
    assert "equals the input's" not in run.out
    named = await alhena("demo", "day.jsonl", "--name-from-id", cwd=tmp_path)
    assert "1 rejected" in named.out


async def test_keep_leaves_the_page_up(tmp_path: Path) -> None:
    """With --keep the page answers after the day is over, until Ctrl-C, and the status is 0."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1)))
    async with started("demo", "day.jsonl", "--keep", cwd=tmp_path) as process:
        assert process.stdout is not None
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended without waiting"
            if "until Ctrl-C" in line:
                break
        found = re.search(r"http://\S+", line)
        assert found
        async with aiohttp.ClientSession() as session, session.get(found[0]) as reply:
            assert reply.status == 200
        process.send_signal(signal.SIGINT)
        assert (await ended(process)).status == 0


async def test_ctrl_c_stops_the_day(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the day ends with status 130 and a summary."""
    async with started("demo", "--fault", "latency=1:100ms", cwd=tmp_path) as process:
        assert process.stderr is not None
        while b" lines, " not in await process.stderr.readline():  # some of the day has happened
            pass
        process.send_signal(signal.SIGINT)
        run = await ended(process)
    assert run.status == 130
    assert "Stopped at line" in run.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("demo", "absent.jsonl"), "No such file"),
        (("demo", "--fault", "nonsense"), "bad fault"),
        (("demo", "--fault", "error=0.6", "--fault", "reset=0.6"), "more than 1"),
        (("demo", "--coalescing", "some"), "some"),
        (("emulate", "--host", "0.0.0.0"), "loopback"),
    ],
)
async def test_what_cannot_begin_says_why(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """A wrong option or file ends with status 2 and one clear text."""
    run = await alhena(*arguments, cwd=tmp_path)
    assert run.status == 2, run
    assert told in run.err
    assert "Traceback" not in run.err


async def test_the_emulator_runs_until_ctrl_c(tmp_path: Path) -> None:
    """`alhena emulate` tells its address, takes what `alhena replay` sends, and sums it up."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(checkout(1, value=19.99)))
    async with started("emulate", "--port", "0", "--company", "shop", cwd=tmp_path) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", (await process.stdout.readline()).decode())
        assert found
        options = ("--base-url", found[0], "--company-key", "shop")
        assert (await alhena("replay", "day.jsonl", *options, cwd=tmp_path)).status == 0
        taken = await alhena("emulate", "--port", found[0].split(":")[2].strip("/"), cwd=tmp_path)
        assert (taken.status, "in use" in taken.err) == (2, True)
        process.send_signal(signal.SIGINT)
        run = await ended(process)
    assert run.status == 0
    assert ["EUR", "19.99"] in [line.split() for line in run.out.splitlines()]


async def test_ctrl_c_is_heard_where_it_was_ignored(tmp_path: Path) -> None:
    """A script's shell starts what it puts into the background with SIGINT ignored."""
    command = ("sh", "-c", 'trap "" INT; exec "$0" emulate --port 0', str(ALHENA))
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        while b"Ctrl-C" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert (await ended(process)).status == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_extra_it_says_what_to_install(missing: str) -> None:
    """Without click or rich the command names the extra instead of failing with a traceback."""
    code = f"import sys; sys.modules[{missing!r}] = None; from alhena_async.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 2
    assert "pip install 'alhena-async[cli]'" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("command", [(), ("demo",), ("emulate",), ("replay",)])
async def test_help_is_there(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Every command has a help text; those that can fail document their exit statuses."""
    run = await alhena(*command, "--help", cwd=tmp_path)
    assert run.status == 0
    assert ("Exit status" in run.out) is (command in {("demo",), ("replay",)})
