"""`alhena replay`, as its own process, into a real emulator."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import random
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from alhena_async.emulator import Emulator, FaultPlan, Preconditions, Tickets
from tests.cli_process import alhena, cart, checkout, ended, lines_of, names_in, rows, started
from tests.patience import PATIENCE


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


def to(emulator: Emulator) -> tuple[str, ...]:
    return ("--base-url", emulator.url, "--company-key", "shop")


async def test_every_line_is_recorded(tmp_path: Path, emulator: Emulator) -> None:
    """A file's events arrive, its sums are told exactly, and the status is 0."""
    orders = [checkout(number, value=0.1, currency="EUR") for number in range(100)]
    content = lines_of(*map(cart, range(100)), *orders, checkout(100, value=7.125, currency="KWD"))
    (tmp_path / "day.jsonl").write_bytes(content)
    run = await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
    assert run.status == 0, run
    assert emulator.recorded_count == 201
    assert emulator.revenue == {"EUR": Decimal("10.0"), "KWD": Decimal("7.125")}
    rows_told = [line.split() for line in run.out.splitlines()]
    assert ["EUR", "10.00", "10.00", "0.00"] in rows_told
    assert ["KWD", "7.125", "7.125", "0.00"] in rows_told
    assert run.out.splitlines()[-1] == "101 of 101 orders recorded: 10.00 EUR and 7.125 KWD."
    assert "201 of 201 lines" in run.err
    assert not (tmp_path / "day.rejects.jsonl").exists()


@pytest.mark.parametrize("compressed", [False, True])
async def test_standard_input_is_read_plain_or_gzip(
    tmp_path: Path, emulator: Emulator, compressed: bool
) -> None:
    """`-` is standard input, gzip or not."""
    content = lines_of(*map(cart, range(50)))
    content = gzip.compress(content) if compressed else content
    run = await alhena("replay", "-", *to(emulator), cwd=tmp_path, stdin=content)
    assert run.status == 0, run
    assert emulator.recorded_count == 50
    assert names_in(tmp_path) == []


async def test_a_slow_pipe_is_sent_as_it_comes(tmp_path: Path, emulator: Emulator) -> None:
    """A line is sent when it is there, not when the next thousand are."""
    async with started(
        "replay", "-", *to(emulator), cwd=tmp_path, stdin=asyncio.subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        for number in range(1, 4):
            process.stdin.write(lines_of(cart(number)))
            await process.stdin.drain()
            await emulator.wait_until(lambda: emulator.recorded_count == number, timeout=PATIENCE)  # noqa: B023
        process.stdin.close()
        run = await ended(process)
    assert run.status == 0


async def test_a_file_of_one_visitor_is_sent_in_order(tmp_path: Path, emulator: Emulator) -> None:
    """However many events wait in one lane, that is no trouble, and none is said to be."""
    events = [cart(number, visitor="one") for number in range(1_000)]
    (tmp_path / "day.jsonl").write_bytes(lines_of(*events))
    run = await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
    assert run.status == 0, run
    assert "warning" not in run.err
    products = [record.product_id for record in emulator.recorded()]
    assert products == [f"p{number}" for number in range(1_000)]


async def test_bad_lines_go_to_the_rejects_file(tmp_path: Path, emulator: Emulator) -> None:
    """Number, reason and the line itself are kept; the rest of the file is sent; status 1."""
    bad = [
        b"{oops\n",
        b'\xff\xfe"\n',
        lines_of({"kind": "page_view", "visitor": "v"}),
        lines_of({**cart(1), "quantity": -1}),
        lines_of({name: value for name, value in cart(1).items() if name != "currency"}),
        b'{"kind": "cart", "pad": "' + b"x" * 1_100_000 + b'"}\n',
    ]
    good = [lines_of(cart(number)) for number in range(1, 8)]
    content = b"".join(
        part for pair in itertools.zip_longest(good, bad, fillvalue=b"\n") for part in pair
    )
    (tmp_path / "day.jsonl").write_bytes(content)
    run = await alhena("replay", "day.jsonl", *to(emulator), "--rejects", "bad.jsonl", cwd=tmp_path)
    assert run.status == 1, run
    assert emulator.recorded_count == 7
    rejects = rows(tmp_path / "bad.jsonl")
    assert [reject["line"] for reject in rejects] == [2, 4, 6, 8, 10, 12]
    assert [
        word
        for word, reject in zip(
            (
                "no JSON",
                "UTF-8",
                "kind must be",
                "quantity -1 must be",
                "currency is missing",
                "longer",
            ),
            rejects,
            strict=True,
        )
        if word not in reject["reason"]
    ] == []
    assert rejects[0]["text"] == "{oops"
    assert rejects[5]["cut"]
    assert "6 lines with reasons in bad.jsonl" in run.out


async def test_blank_lines_are_no_success(tmp_path: Path, emulator: Emulator) -> None:
    """Nothing was recorded, which is said, and gets no heading of an empty table."""
    (tmp_path / "day.jsonl").write_bytes(b"\n \n")
    run = await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
    assert run.status == 1, run
    assert "Outcome" not in run.out
    assert run.out.splitlines()[-1] == "There was no event in it."


async def test_refusals_are_told_by_code(tmp_path: Path) -> None:
    """What the API refuses for a stated reason is counted by code, and makes the status 1."""
    refused = [cart(number, type="ITEM_REMOVED", quantity=0) for number in range(3)]
    (tmp_path / "day.jsonl").write_bytes(lines_of(*refused, cart(9)))
    async with Emulator(preconditions=Preconditions.LENIENT) as emulator:
        run = await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
        assert emulator.requests == 4
        assert run.status == 1, run
        assert ["PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND", "3"] in [
            line.split() for line in run.out.splitlines()
        ]
        assert run.out.splitlines()[-1] == "1 of 4 cart events recorded; 3 refused."
        # The refusals of an earlier run count too.
        resume = ("replay", "day.jsonl", *to(emulator), "--resume", "--allow-rejects")
        assert (await alhena(*resume, "2", cwd=tmp_path)).status == 1
        assert (await alhena(*resume, "3", cwd=tmp_path)).status == 0
        assert emulator.requests == 4


@pytest.mark.parametrize("status", [404, 405, 302])
async def test_a_wrong_address_is_a_failure(tmp_path: Path, status: int) -> None:
    """Refusals without a code make the status 1, tell why, and --resume sends them again."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1), cart(2)))
    async with Emulator(faults=FaultPlan.parse([f"error=1:{status}"])) as emulator:
        run = await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
        assert run.status == 1, run
        assert f"HTTP {status}" in run.out
        assert "Left: 2 lines of 2." in run.out
        emulator.plan(FaultPlan())
        run = await alhena("replay", "day.jsonl", *to(emulator), "--resume", cwd=tmp_path)
        assert run.status == 0, run
        assert emulator.recorded_count == 2


async def test_visitors_without_a_conversation_are_no_failure(tmp_path: Path) -> None:
    """UNATTRIBUTED is the usual case: counted, status 0, where the API knows one of them."""
    own = {"user_fingerprint": "fp", "user_faq_fingerprint": "faq"}
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1), cart(2, **own)))
    async with Emulator(tickets=Tickets.OPENED) as emulator:
        emulator.open_ticket(("fp", "faq"))
        run = await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
    assert run.status == 0, run
    assert run.out.splitlines()[-1] == "1 of 2 cart events recorded; 1 without a conversation."


async def test_an_api_that_knows_no_visitor_records_nothing(tmp_path: Path) -> None:
    """Where the fingerprints are invented, that is why; the status is 1, whatever is allowed."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(checkout(1), checkout(2)))
    async with Emulator(tickets=Tickets.OPENED) as emulator:
        run = await alhena(
            "replay", "day.jsonl", *to(emulator), "--allow-rejects", "100%", cwd=tmp_path
        )
    assert run.status == 1, run
    assert "invented: no browser has them" in run.out
    told = "0 of 2 orders recorded; 2 without a conversation: 19.00 of 19.00 EUR are missing."
    assert run.out.splitlines()[-1] == told


async def test_what_nobody_answered_is_a_failure(tmp_path: Path) -> None:
    """Events that expire make the status 1, and --resume sends them again."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1), cart(2)))
    async with Emulator(faults=FaultPlan.parse(["error=1"])) as emulator:
        run = await alhena(
            "replay", "day.jsonl", *to(emulator), "--give-up-after", "1", cwd=tmp_path
        )
        assert run.status == 1, run
        assert "expired" in run.out
        assert "Left: 2 lines of 2." in run.out
        emulator.plan(FaultPlan())
        run = await alhena("replay", "day.jsonl", *to(emulator), "--resume", cwd=tmp_path)
        assert run.status == 0, run
        assert emulator.recorded_count == 2


async def test_why_nothing_gets_through_is_told(tmp_path: Path) -> None:
    """Where nobody listens, the refused connection is named first for what was given up.

    An attempt that the end of the time cuts short had no reply in time: there may be some.
    """
    (tmp_path / "day.jsonl").write_bytes(lines_of(*map(cart, range(20))))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    where = ("--base-url", f"http://127.0.0.1:{port}/", "--company-key", "shop")
    run = await alhena("replay", "day.jsonl", *where, "--give-up-after", "1", cwd=tmp_path)
    assert run.status == 1, run
    _, _, told = run.out.partition("Given up because")
    assert told.splitlines()[1].startswith("no connection"), run


async def test_a_gzip_that_breaks_off_is_a_failure(tmp_path: Path, emulator: Emulator) -> None:
    """What could be read is sent, and the status and the text say that it was not all."""
    chance = random.Random(1)
    events = [cart(number, product_name=chance.randbytes(200).hex()) for number in range(2000)]
    whole = gzip.compress(lines_of(*events))
    (tmp_path / "day.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    run = await alhena("replay", "day.jsonl.gz", *to(emulator), cwd=tmp_path)
    assert run.status == 1, run
    assert "It stopped after line" in run.out
    assert 0 < emulator.recorded_count < 2000


async def test_nothing_in_the_data_reaches_the_terminal(tmp_path: Path) -> None:
    """Escapes in names, codes and file names are not printed, and a pipe gets plain lines."""
    evil = "\x1b]0;owned\x07\x1b[2J"
    name = f"day{evil[:-4]}.jsonl"
    events = [cart(1, product_name=evil), cart(2, currency=evil), {**cart(3), "kind": evil}]
    (tmp_path / name).write_bytes(lines_of(*events))
    answer = {"status": "error", "error": f"CODE{evil}"}
    async with Emulator(companies=["other"], error_body=lambda code, message: answer) as emulator:
        run = await alhena("replay", name, *to(emulator), cwd=tmp_path)
    assert "\x1b" not in run.out + run.err
    assert "\x07" not in run.out + run.err
    assert "CODE" in run.out
    assert "owned" not in run.out + run.err


async def test_the_rate_and_the_speed_hold(tmp_path: Path, emulator: Emulator) -> None:
    """At 10 a second, 11 events are a second apart from first to last; likewise by stamps.

    On a busy machine the first of them may be late; without a rate they come within some 10 ms.
    """
    (tmp_path / "a.jsonl").write_bytes(lines_of(*map(cart, range(11))))
    stamps = ("2024-03-14T09:00:00Z", "2024-03-14T09:00:30Z")
    (tmp_path / "b.jsonl").write_bytes(
        lines_of(*(cart(n, ts=ts) for n, ts in enumerate(stamps, 50)))
    )
    await alhena("replay", "a.jsonl", *to(emulator), "--rate", "10/s", cwd=tmp_path)
    await alhena("replay", "b.jsonl", *to(emulator), "--speed", "30x", cwd=tmp_path)
    times = [record.at for record in emulator.recorded()]
    assert times[10] - times[0] > 0.3
    assert times[12] - times[11] > 0.3


async def test_names_come_from_ids_where_asked(tmp_path: Path, emulator: Emulator) -> None:
    """--name-from-id with --resume sends what was rejected for its empty name, and only that."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1), cart(2, product_name=""), cart(3)))
    run = await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
    assert run.status == 1
    assert [reject["line"] for reject in rows(tmp_path / "day.rejects.jsonl")] == [2]
    arguments = (*to(emulator), "--name-from-id", "--resume")
    run = await alhena("replay", "day.jsonl", *arguments, cwd=tmp_path)
    assert run.status == 0
    names = [record.product_name for record in emulator.recorded()]
    assert set(names[:2]) == {"Mug 1", "Mug 3"}  # of two visitors, which go side by side
    assert names[2:] == ["p2"]
    assert not (tmp_path / "day.rejects.jsonl").exists()


async def test_visitors_have_two_fingerprints(tmp_path: Path, emulator: Emulator) -> None:
    """Each visitor has the same two different fingerprints in carts and orders."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1), checkout(1), cart(2)))
    await alhena("replay", "day.jsonl", *to(emulator), cwd=tmp_path)
    by_product = {
        (record.visitor, "p1" if record.has_product("p1") else "p2")
        for record in emulator.recorded()
    }
    assert len(by_product) == 2
    assert len({print_ for visitor, _ in by_product for print_ in visitor}) == 4


async def test_progress_rows_tell_each_line(tmp_path: Path, emulator: Emulator) -> None:
    """The progress file has a row per settled line, with the amount of a recorded order."""
    (tmp_path / "day.jsonl").write_bytes(lines_of(cart(1), checkout(2, value=3.5)))
    await alhena("replay", "day.jsonl", *to(emulator), "--progress", "p.jsonl", cwd=tmp_path)
    settled = sorted(
        (row for row in rows(tmp_path / "p.jsonl") if "line" in row), key=lambda row: row["line"]
    )
    assert settled == [
        {"line": 1, "status": "recorded"},
        {"line": 2, "status": "recorded", "value": "3.5", "currency": "EUR"},
    ]
    assert json.loads((tmp_path / "p.jsonl").read_bytes().splitlines()[-1]) == {"complete": True}
