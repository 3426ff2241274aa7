"""What processes tell of themselves in the directory: whole, bounded, and in nobody's way."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest

from alhena_async import AlhenaClient, Stats
from alhena_async.journal import (
    OutcomeReader,
    ProcessState,
    Watch,
    holds_journal,
    inspect_journal,
    read_processes,
)
from alhena_async.journal._reports import MAX_OUTCOMES_BYTES, Report, prune, seal_of
from alhena_async.observers import BreakerState
from alhena_async.testing import MemoryTransport
from tests.journals import DESTINATION, KEY, cart, files_in, order
from tests.patience import PATIENCE

COUNTS: dict[str, Any] = {
    "destination": DESTINATION,
    "stats": attrs.asdict(Stats(accepted=5, recorded=3, queued=2, oldest_age=1.5)),
    "refused": {"COMPANY_NOT_FOUND": 1, "other": 2},
}


def outcome(number: int, **changed: Any) -> dict[str, Any]:
    told = {"number": number, "kind": "cart", "status": "recorded", "code": None}
    return {**told, "attempts": 1, "seconds": 0.25, **changed}


def state_in(directory: Path) -> ProcessState:
    (report,), problems = read_processes(directory)
    assert problems == []
    return report.state


def test_a_process_is_read_as_it_wrote_itself(tmp_path: Path) -> None:
    """Living while it holds its file, ended once it said so, died without a word."""
    report, other = Report(tmp_path), Report(tmp_path)
    assert report.write(COUNTS) is False
    (found,), _ = read_processes(tmp_path)
    assert (found.pid, found.state) == (os.getpid(), ProcessState.LIVING)
    assert found.stats == Stats(accepted=5, recorded=3, queued=2, oldest_age=1.5)
    assert found.refused == COUNTS["refused"]
    assert found.at >= found.begun
    (file,) = files_in(tmp_path, "*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_size == 4_096
    report.write(COUNTS, is_last=True)
    assert state_in(tmp_path) is ProcessState.ENDED
    file.unlink()
    other.write(COUNTS)
    other.release()
    assert state_in(tmp_path) is ProcessState.DIED


OTHERWISE: dict[type, Any] = {
    int: 7,
    float: 2.5,
    bool: True,
    BreakerState: BreakerState.HALF_OPEN,
    type(None): "session",
}


@pytest.mark.parametrize("field", attrs.fields(Stats), ids=lambda field: field.name)
def test_every_count_is_told(tmp_path: Path, field: attrs.Attribute[Any]) -> None:
    """Whatever `Stats` learns to count: a kind that no file tells fails here."""
    stats = Stats(**{field.name: OTHERWISE[type(field.default)]})
    Report(tmp_path).write({**COUNTS, "stats": attrs.asdict(stats)}, is_last=True)
    (found,), problems = read_processes(tmp_path)
    assert (found.stats, problems) == (stats, [])


def test_a_file_that_was_deleted_underneath_is_made_again(tmp_path: Path) -> None:
    """As is one that could not be made before."""
    report = Report(tmp_path / "later")
    assert report.write(COUNTS) is False
    (tmp_path / "later").mkdir()
    for _ in range(2):
        report.write(COUNTS)
        (file,) = files_in(tmp_path / "later", "*")
        file.unlink()


def test_a_half_written_file_is_never_taken_for_whole(tmp_path: Path) -> None:
    """Every byte changed, and every cut: a problem with a name, or nothing, never a number."""
    report = Report(tmp_path)
    report.write(COUNTS, is_last=True)
    (file,) = files_in(tmp_path, "*")
    content = file.read_bytes()
    before, _ = read_processes(tmp_path)
    for place in range(len(content.rstrip())):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        found, problems = read_processes(tmp_path)
        # A float's last digit may be one more than it needs.
        assert found == before or (found, len(problems)) == ([], 1), place
        file.write_bytes(content[:place])
        found, problems = read_processes(tmp_path)
        assert found == [], place
        assert all(str(file) in problem for problem in problems)
    file.write_bytes(content)
    assert read_processes(tmp_path)[0] == before


def sealed(**changed: Any) -> bytes:
    said = {"version": 1, "pid": 7, "begun": 1.0, "at": 2.0, "ended": True, **COUNTS, **changed}
    return json.dumps({**said, "seal": seal_of(said)}).encode()


HOSTILE = [
    b"[" * 100_000,
    b"null",
    b"\xff\xfe",
    b"9" * 5_000,
    sealed(version=2),
    sealed(pid=-1),
    sealed(pid="7"),
    sealed(at=float("nan")),
    sealed(begun=1e308),
    sealed(destination=5),
    sealed(destination="x" * 5_000),
    sealed(stats=None),
    sealed(stats={"accepted": True}),
    sealed(stats={"accepted": 10**30}),
    sealed(stats={"cart_breaker": "\x1b[2J"}),
    sealed(stats={"wire": "\x1b[2J"}),
    sealed(stats={"wire": []}),
    sealed(refused={"\x1b[2J": 1}),
    sealed(refused={"A": -1}),
    sealed(refused=dict.fromkeys(map(chr, range(65, 99)), 1)),
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_file_is_a_problem_of_its_own(tmp_path: Path, content: bytes) -> None:
    """The one beside it is read; what is unknown to this version is passed over."""
    (tmp_path / "1-00000000.counts").write_bytes(content)
    (tmp_path / "2-00000000.counts").write_bytes(sealed(of_tomorrow=1))
    found, problems = read_processes(tmp_path)
    assert [one.pid for one in found] == [7]
    assert len(problems) == 1
    assert "1-00000000.counts" in problems[0]


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """A link, a directory, a pipe that nobody writes to; foreign names are none of ours."""
    (tmp_path / "1-00000000.counts").symlink_to("/etc/hostname")
    (tmp_path / "2-00000000.counts").mkdir()
    os.mkfifo(tmp_path / "3-00000000.counts")
    for name in ("counts", "x.counts", "0-00000000.counts", "1-0000000g.counts"):
        (tmp_path / name).write_bytes(b"rubbish")
    found, problems = read_processes(tmp_path)
    assert (found, len(problems)) == ([], 3)


def test_those_that_are_gone_are_kept_for_a_while(tmp_path: Path) -> None:
    """The latest 64, for a week; nobody who lives is removed, nor what is none of these."""
    living = Report(tmp_path)
    living.write(COUNTS)
    (tmp_path / "00000001.events").touch()
    for number in range(1, 81):
        path = tmp_path / f"{number}-0000000a.counts"
        path.write_bytes(b"")
        os.utime(path, (2e9 + number, 2e9 + number))
    old = tmp_path / "99-0000000b.counts"
    old.touch()
    os.utime(old, (1, 1))
    (tmp_path / "99-0000000b.outcomes").touch()
    (tmp_path / "98-0000000b.watching").touch()
    prune(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {f"{number}-0000000a.counts" for number in range(17, 81)} < names
    assert len(names) == 64 + 2
    assert len(read_processes(tmp_path)[0]) == 1


# --- outcomes ---------------------------------------------------------------------------------


def test_outcomes_are_written_only_while_somebody_watches(tmp_path: Path) -> None:
    """And nothing is left of them; several may watch."""
    report = Report(tmp_path)
    report.write(COUNTS, [outcome(1)])
    assert files_in(tmp_path, "*.outcomes") == []
    first, second = Watch(tmp_path), Watch(tmp_path)
    readers = [OutcomeReader(tmp_path), OutcomeReader(tmp_path)]
    assert report.write(COUNTS) is True
    report.write(COUNTS, [outcome(2), outcome(3, status="rejected", code="COMPANY_NOT_FOUND")])
    for reader in readers:
        seen = list(reader.poll())
        assert [(one.number, one.status, one.code) for one in seen] == [
            (2, "recorded", None),
            (3, "rejected", "COMPANY_NOT_FOUND"),
        ]
    first.close()
    assert report.write(COUNTS, [outcome(4)]) is True
    assert [one.number for one in readers[1].poll()] == [4]
    second.close()
    assert report.write(COUNTS, [outcome(5)]) is False
    assert len(files_in(tmp_path, "*")) == 1
    assert [one.number for reader in readers for one in reader.poll()][-1:] == [5]
    for reader in readers:
        reader.close()


def test_outcomes_are_bounded_in_bytes(tmp_path: Path) -> None:
    """A full file gives way to a new one; who reads along misses nothing, who is late is told."""
    report, watch = Report(tmp_path), Watch(tmp_path)
    prompt, late = OutcomeReader(tmp_path), OutcomeReader(tmp_path)
    seen: list[int] = []
    number = 0
    report.write(COUNTS)
    late_first = list(late.poll())
    for _ in range(40):
        batch = [outcome(number := number + 1) for _ in range(500)]
        report.write(COUNTS, batch)
        (file,) = files_in(tmp_path, "*.outcomes")
        assert file.stat().st_size <= MAX_OUTCOMES_BYTES
        seen += [one.number for one in prompt.poll()]
    assert seen == list(range(1, number + 1))
    assert prompt.lost == 0
    caught_up = [one.number for one in late.poll()]
    assert late_first == []
    assert len(caught_up) + late.lost == number
    assert late.lost > 0
    watch.close()
    prompt.close()
    late.close()


def test_hostile_lines_are_counted_and_passed_over(tmp_path: Path) -> None:
    """Sound ones between them are shown."""
    path = tmp_path / "4-00000000.outcomes"
    reader = OutcomeReader(tmp_path)
    sound = [{"at": 5.0, **outcome(1)}, {"at": 6.0, **outcome(2)}]
    bad = [
        b"", b"null", b"[" * 50_000, b'{"kind": "\x1b[2J"}', b"\xff",
        json.dumps({"at": 5.0, **outcome(1, code="\x1b[2J")}).encode(),
        json.dumps({"at": 5.0, **outcome(1, status="nonsense")}).encode(),
        json.dumps({"at": 5.0, **outcome(1, seconds=-1)}).encode(),
    ]  # fmt: skip
    lines = [json.dumps(sound[0]).encode(), *bad, json.dumps(sound[1]).encode()]
    path.write_bytes(b"\n".join(lines) + b"\n" + b'{"half')
    assert [one.number for one in reader.poll()] == [1, 2]
    assert reader.lost == len(bad)
    assert list(reader.poll()) == []
    reader.close()


# --- the client -------------------------------------------------------------------------------


async def test_a_client_leaves_its_last_counts_and_nothing_else(tmp_path: Path) -> None:
    """By the code, what is refused; the directory holds no journal any more."""
    transport = MemoryTransport(companies=[KEY])
    async with AlhenaClient(
        KEY, base_url=DESTINATION, transport=transport, journal=tmp_path / "j"
    ) as client:
        client.track_nowait(cart(1))
        client.track_nowait(order(2, order_id="A2"), company_key="nobody")
        await client.flush()
        stats = client.stats()
        async with asyncio.timeout(PATIENCE):
            while not read_processes(tmp_path / "j")[0]:  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)
        (found,), _ = read_processes(tmp_path / "j")
        assert (found.state, found.destination) == (ProcessState.LIVING, DESTINATION)
    (found,), problems = read_processes(tmp_path / "j")
    assert problems == []
    assert found.state is ProcessState.ENDED
    assert found.stats == stats
    assert found.refused == {"COMPANY_NOT_FOUND": 1}
    assert not holds_journal(tmp_path / "j") or inspect_journal(tmp_path / "j").dead_letters
    content = files_in(tmp_path / "j", "*.counts")[0].read_bytes()
    assert b"550e8400" not in content
    assert KEY.encode() not in content


async def test_a_directory_that_holds_counts_alone_is_used_again(tmp_path: Path) -> None:
    """Also where it was opened to others meanwhile: nothing foreign is in it."""
    for number in range(3):
        async with AlhenaClient(
            KEY, base_url=DESTINATION, transport=MemoryTransport(), journal=tmp_path / "j"
        ) as client:
            await client.record(cart(number))
        (tmp_path / "j").chmod(0o755)
    assert [one.stats.recorded for one in read_processes(tmp_path / "j")[0]] == [1, 1, 1]
    assert files_in(tmp_path / "j", "0*") == []
