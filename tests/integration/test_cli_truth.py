"""Ends of `alhena replay` that tell the truth, as its own process."""

from __future__ import annotations

import gzip
import json
import random
import signal
import stat
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alhena_async import AlhenaClient, CheckoutEvent, LineItem, OutcomeStatus, Visitor
from alhena_async.emulator import Emulator, FaultPlan
from tests.cli_process import Ended, alhena, cart, checkout, lines_of, names_in, rows, started
from tests.cli_process import ended as ended_process

FLOATS = [
    checkout(1, value=29.99 + 13.1),  # 43.089999999999996
    checkout(2, value=0.1 + 0.2),
    checkout(3, value=14.99 + 13.45),
]
OWN = {"user_fingerprint": "fp", "user_faq_fingerprint": "faq"}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


def to(emulator: Emulator) -> tuple[str, ...]:
    return ("--base-url", emulator.url, "--company-key", "shop")


async def replay(path: Path, emulator: Emulator, *more: str) -> Ended:
    return await alhena("replay", path.name, *to(emulator), *more, cwd=path.parent)


def write(folder: Path, *events: dict[str, Any], name: str = "day.jsonl") -> Path:
    path = folder / name
    path.write_bytes(lines_of(*events))
    return path


async def test_floats_of_other_programs_are_recorded(tmp_path: Path, emulator: Emulator) -> None:
    """As the library takes them: the sums are told to the cent, and nothing is left out."""
    run = await replay(write(tmp_path, *FLOATS), emulator)
    assert run.status == 0, run
    assert run.out.splitlines()[-1] == "3 of 3 orders recorded: 71.83 EUR."
    assert [str(record.value) for record in emulator.recorded()].count("43.089999999999996") == 1
    demo = await alhena("demo", "day.jsonl", cwd=tmp_path)
    assert (demo.status, "equals the input's to the cent" in demo.out) == (0, True)


async def test_a_float_that_ended_as_a_dead_letter_can_be_replayed(tmp_path: Path) -> None:
    """What the client took, its journal gives back in digits that every door reads."""
    lamp = LineItem(
        product_id="p", product_name="Lamp", quantity=1, value=0.1 + 0.2, currency="EUR"
    )
    order = CheckoutEvent(
        visitor=Visitor(fingerprint="a", faq_fingerprint="b"),
        value=29.99 + 13.1,
        currency="EUR",
        order_id="F1",
        line_items=[lamp],
    )
    async with Emulator(companies=["shop"]) as emulator:
        journal = tmp_path / "journal"
        async with AlhenaClient("shpo", base_url=emulator.url, journal=journal) as client:
            assert (await (await client.track(order))).status is OutcomeStatus.REJECTED
        exported = await alhena("dead-letters", "export", journal, "day.jsonl", cwd=tmp_path)
        assert exported.status == 0, exported
        run = await replay(tmp_path / "day.jsonl", emulator)
        assert run.status == 0, run
        assert emulator.revenue == {"EUR": Decimal("43.089999999999996")}


async def test_the_last_line_says_what_is_missing(tmp_path: Path, emulator: Emulator) -> None:
    """In orders and in money, over all kinds of lines; the table adds up."""
    path = write(
        tmp_path,
        checkout(1, value=10.5),
        checkout(2, value=20, line_items=[]),
        checkout(3, value="30.00"),
        checkout(4, value=1, currency="USD"),
        checkout(5, value="?"),
        cart(6),
        cart(7, quantity=-1),
        {"kind": "refund"},
    )
    run = await replay(path, emulator)
    assert run.status == 1, run
    unread = "the value of 1 order that cannot be read"
    assert run.out.splitlines()[-3:] == [
        "1 line rejected that cannot be read.",
        "1 of 2 cart events recorded; 1 rejected.",
        f"2 of 5 orders recorded; 3 rejected: 50.00 of 60.50 EUR and {unread} are missing.",
    ]
    table = [line.split() for line in run.out.splitlines()]
    assert ["EUR", "60.50", "10.50", "50.00"] in table
    assert ["USD", "1.00", "1.00", "0.00"] in table
    heading = ["Revenue", "In", "the", "file", "Recorded", "Not", "recorded"]
    assert heading in table  # rich sets the gaps
    for allowed, status in (("4", 1), ("5", 0), ("62%", 1), ("62.5%", 0)):
        again = await replay(path, emulator, "--restart", "--allow-rejects", allowed)
        assert again.status == status, allowed


@pytest.mark.parametrize("number", [1, 19, 20, 300])
async def test_a_mistyped_key_ends_in_one_sentence(tmp_path: Path, number: int) -> None:
    """It costs twenty requests at most, and the right key can begin."""
    path = write(tmp_path, *(checkout(n) for n in range(number)))
    async with Emulator(companies=["shop"]) as emulator:
        where = ("--base-url", emulator.url)
        run = await alhena("replay", path, *where, "--company-key", "sohp", cwd=tmp_path)
        assert run.status == 1, run
        first = "1 event" if number == 1 else f"{min(number, 20)} events"
        assert run.out == (
            f'The API at {emulator.url} knows no company key "sohp": COMPANY_NOT_FOUND for the '
            f"first {first}. Check --company-key and --region.\n"
        )
        assert "close" not in run.err  # no advice on a client of your own
        assert emulator.requests == min(number, 20)
        assert names_in(tmp_path) == ["day.jsonl"]
        right = await alhena("replay", path, *where, "--company-key", "shop", cwd=tmp_path)
        assert (right.status, len(emulator.recorded())) == (0, number), right


async def test_a_key_that_is_forgotten_meanwhile_is_gone_on_with(tmp_path: Path) -> None:
    """What was recorded before stays noted, and what was refused is sent by the next run."""
    path = write(tmp_path, *map(cart, range(3)))
    async with Emulator(companies=["shop"]) as emulator:
        emulator.plan(FaultPlan.parse(["error=1:500"]))
        options = (*to(emulator), "--give-up-after", "1")
        await alhena("replay", path, *options, cwd=tmp_path)
        emulator.plan(FaultPlan())
        run = await alhena("replay", path, *options, "--resume", cwd=tmp_path)
        assert (run.status, emulator.recorded_count) == (0, 3), run


@pytest.mark.parametrize("option", [(), ("--region", "eu")])
async def test_invented_fingerprints_do_not_leave_this_machine(
    tmp_path: Path, option: tuple[str, ...]
) -> None:
    """Lines with a shop's visitor id are refused before anything is sent, with what to do."""
    path = write(tmp_path, checkout(1))
    run = await alhena("replay", path, "--company-key", "k", *option, cwd=tmp_path)
    assert run.status == 2, run
    assert "give user_fingerprint and user_faq_fingerprint" in run.err
    assert "--derive-visitors sends it all the same" in run.err
    assert names_in(tmp_path) == ["day.jsonl"]
    reconciled = await alhena("reconcile", path, "--company-key", "k", *option, cwd=tmp_path)
    assert (reconciled.status, "--derive-visitors" in reconciled.err) == (2, True)


async def test_own_fingerprints_and_wanted_ones_do(tmp_path: Path) -> None:
    """A first line with fingerprints is sent; one behind it without any is rejected, not sent."""
    path = write(tmp_path, cart(1, **OWN), cart(2))
    where = ("--base-url", "https://shop.invalid/", "--company-key", "k", "--give-up-after", "1")
    run = await alhena("replay", path, *where, cwd=tmp_path)
    assert run.status == 1, run
    (reject,) = rows(tmp_path / "day.rejects.jsonl")
    assert reject["line"] == 2
    assert "visitor is the shop's own id" in reject["reason"]
    derived = await alhena("replay", path, *where, "--derive-visitors", "--restart", cwd=tmp_path)
    assert derived.status == 1
    assert "invented: no browser has them" in derived.err
    assert not (tmp_path / "day.rejects.jsonl").exists()


@pytest.mark.parametrize("command", ["replay", "demo", "reconcile", "check"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps([cart(1)]).encode(), "is a JSON array: jq -c '.[]'"),
        (gzip.compress(json.dumps([cart(1)]).encode()), "is a JSON array"),
        (b"a,b\n1,2\n", "is a table (CSV)"),
        (lines_of(cart(1)).decode().encode("utf-16"), "is UTF-16"),
        (lines_of(cart(1), cart(2)).replace(b"\n", b"\r"), "old-Mac line ends"),
        (b"BZh91AY&SY", "bzcat"),
        (b"", "is empty"),
    ],
    ids=["array", "gzipped", "table", "utf-16", "mac", "bzip2", "empty"],
)
async def test_nearly_right_files_are_named(
    tmp_path: Path, emulator: Emulator, command: str, content: bytes, told: str
) -> None:
    """In one sentence, with status 2; nothing is sent, and no file is left."""
    (tmp_path / "day.jsonl").write_bytes(content)
    arguments = {
        "replay": ("replay", "day.jsonl", *to(emulator)),
        "reconcile": ("reconcile", "day.jsonl", *to(emulator)),
        "check": ("replay", "--check", "day.jsonl"),
        "demo": ("demo", "day.jsonl"),
    }[command]
    run = await alhena(*arguments, cwd=tmp_path)
    assert run.status == 2, run
    assert told in run.err
    assert "Traceback" not in run.err
    assert (emulator.requests, names_in(tmp_path)) == (0, ["day.jsonl"])


async def test_a_pipe_is_looked_at_too(tmp_path: Path, emulator: Emulator) -> None:
    """Its first line tells, however it arrives."""
    run = await alhena("replay", "-", *to(emulator), cwd=tmp_path, stdin=b"[{}]")
    assert (run.status, "standard input is a JSON array" in run.err) == (2, True), run


async def test_files_of_several_are_read(tmp_path: Path, emulator: Emulator) -> None:
    """`cat` puts each file's byte order mark before a line of its own."""
    path = tmp_path / "day.jsonl"
    path.write_bytes(b"".join(b"\xef\xbb\xbf" + lines_of(cart(n)) for n in range(3)))
    run = await replay(path, emulator)
    assert (run.status, emulator.recorded_count) == (0, 3), run


async def test_two_values_for_one_name_are_no_event(tmp_path: Path, emulator: Emulator) -> None:
    """Nobody knows which one is meant, and neither is sent."""
    path = tmp_path / "day.jsonl"
    path.write_bytes(
        lines_of(checkout(1)).replace(b'"value": 9.5', b'"value": 9.5, "value": 950', 1)
    )
    run = await replay(path, emulator)
    assert (run.status, emulator.requests) == (1, 0), run
    assert "more than one" in rows(tmp_path / "day.rejects.jsonl")[0]["reason"]


async def test_only_the_owner_reads_what_is_written(tmp_path: Path, emulator: Emulator) -> None:
    """Rejects and progress hold what customers did: mode 0600."""
    await replay(write(tmp_path, cart(1), cart(2, quantity=-1)), emulator)
    for name in ("day.rejects.jsonl", "day.progress.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


async def test_check_tells_everything_and_sends_nothing(tmp_path: Path) -> None:
    """Counts, sums by currency and each reject with its reasons; no key is asked for."""
    write(
        tmp_path,
        checkout(1, value=10),
        checkout(1, value=10),
        checkout(2, value=0.3, currency="USD", order_id=None),
        cart(3, **OWN),
        cart(4, quantity=-1, value="x"),
        checkout(5, value=5, line_items=[]),
    )
    run = await alhena("replay", "--check", "day.jsonl", cwd=tmp_path)
    assert run.status == 1, run
    told = run.out.splitlines()
    assert told[0].startswith("line 5: value must be a number, not text")
    assert "quantity" in told[0]
    assert told[1].startswith("line 6: line_items must hold at least one")
    assert "3 orders, 1 cart event" in run.out
    table = [line.split() for line in told]
    assert ["EUR", "25.00", "5.00"] in table
    assert ["USD", "0.30", "0.00"] in table
    assert "3 lines with a shop's own visitor id" in run.out
    assert "1 order without order_id" in run.out
    assert "1 order with the order_id of an earlier line" in run.out
    end = "4 of 6 lines would be sent; 2 rejected: 5.00 of 25.00 EUR are missing."
    assert told[-1] == end
    assert names_in(tmp_path) == ["day.jsonl"]
    allowed = await alhena(
        "replay", "--check", "day.jsonl", "--allow-rejects", "2", "--rejects", "r", cwd=tmp_path
    )
    assert allowed.status == 0
    assert [reject["line"] for reject in rows(tmp_path / "r")] == [5, 6]


async def test_check_of_a_sound_file_is_a_success(tmp_path: Path) -> None:
    """From a pipe as well."""
    run = await alhena("replay", "--check", "-", cwd=tmp_path, stdin=lines_of(*FLOATS))
    assert run.status == 0, run
    assert run.out.splitlines()[-1] == "3 of 3 lines would be sent."
    assert names_in(tmp_path) == []


async def test_check_of_a_file_that_breaks_off_says_so(tmp_path: Path) -> None:
    """What could be read is told, and the status is 1."""
    chance = random.Random(1)
    events = [cart(number, product_name=chance.randbytes(200).hex()) for number in range(2000)]
    whole = gzip.compress(lines_of(*events))
    (tmp_path / "day.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    run = await alhena("replay", "--check", "day.jsonl.gz", cwd=tmp_path)
    assert run.status == 1, run
    assert "It stopped after line" in run.out
    (tmp_path / "orders").write_bytes(b"of somebody else")
    write(tmp_path, cart(1))
    for name, told in (("orders", "holds something else"), ("no/dir", "cannot write no/dir")):
        bad = await alhena("replay", "--check", "day.jsonl", "--rejects", name, cwd=tmp_path)
        assert (bad.status, told in bad.err) == (2, True), bad


async def test_ctrl_c_in_a_demo_is_answered_at_once(tmp_path: Path) -> None:
    """It says that it waits for what is under way, before it has waited."""
    async with started("demo", "--fault", "hang=1", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while b"Page" not in await process.stdout.readline():
            pass
        while b"lines" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        while b"Stopping: up to 5.0 s" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        run = await ended_process(process)
    assert run.status == 130
