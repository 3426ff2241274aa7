"""`alhena dead-letters` and `alhena journal`, as users run them, on real directories."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alhena_async import CartEvent, OutcomeStatus
from alhena_async.emulator import Emulator, Fault, FaultPlan, Preconditions
from alhena_async.journal import DeadLetterFilter, DeadLetters
from tests.cli_process import alhena, ended, started
from tests.cli_process import rows as rows_of
from tests.journals import (
    DESTINATION,
    adopted,
    cart,
    committed,
    files_in,
    letters_in,
    opened,
    order,
    overwrite,
    visitor,
)
from tests.journals import (
    ended as ending,
)
from tests.patience import PATIENCE

REJECTED, EXPIRED = OutcomeStatus.REJECTED, OutcomeStatus.EXPIRED


async def with_letters(directory: Path, *, destination: str = DESTINATION) -> Path:
    """Make a directory with four letters: two carts, an order with an id, one with an assigned."""
    async with opened(directory, destination=destination) as journal:
        facts: dict[str, Any] = {"attempts": 1, "http_status": 409}
        code = "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND"
        endings = [
            ending(None, REJECTED, event=cart(1, value=Decimal("9.50")), code=code, **facts),
            ending(None, REJECTED, event=cart(2, name="\x1b[31mred"), code="COMPANY_NOT_FOUND"),
            ending(None, EXPIRED, event=order(3, order_id="A3"), order_id="A3", detail="too late"),
            ending(None, EXPIRED, event=order(4), order_id="auto-4"),
        ]
        for one in endings:
            journal.settle([one])
        await journal.sync()
    return directory


def marks(directory: Path) -> list[str | None]:
    """Return what each letter is marked with."""
    return [letter["resent_status"] for letter in letters_in(directory)]


async def test_list_tells_each_in_a_line(tmp_path: Path) -> None:
    """What, why, and nothing that steers a terminal."""
    await with_letters(tmp_path / "j")
    done = await alhena("dead-letters", "list", "j", cwd=tmp_path)
    assert done.status == 0
    assert "added p1" in done.out
    assert "9.50 EUR" in done.out
    assert "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND" in done.out
    assert "order auto-4" in done.out
    assert "4 dead letters" in done.out
    assert "\x1b" not in done.out
    assert "550e8400" not in done.out  # no fingerprint


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], [1, 2, 3, 4]),
        (["--code", "COMPANY_NOT_FOUND"], [2]),
        (["--status", "expired"], [3, 4]),
        (["--status", "expired", "--status", "rejected", "--kind", "cart"], [1, 2]),
        (["--kind", "checkout", "--limit", "1"], [3]),
        (["--id", "2", "--id", "4"], [2, 4]),
        (["--since", "1h"], [1, 2, 3, 4]),
        (["--until", "1h"], []),
        (["--since", "2999-01-01"], []),
        (["--only-company-key", "nobody"], []),
        (["--resent"], []),
        (["--not-resent", "--status", "rejected"], [1, 2]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
async def test_filters_narrow(tmp_path: Path, filters: list[str], expected: list[int]) -> None:
    """The same one widens, different ones narrow; JSON is one object a line."""
    await with_letters(tmp_path / "j")
    done = await alhena("dead-letters", "list", "j", "--json", *filters, cwd=tmp_path)
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == expected


async def test_a_status_that_no_letter_can_have_is_refused(tmp_path: Path) -> None:
    """A slip of the pen is no empty answer."""
    await with_letters(tmp_path / "j")
    done = await alhena("dead-letters", "replay", "j", "--status", "expird", cwd=tmp_path)
    assert (done.status, "'expird' is not one of" in done.err) == (2, True)


async def test_show_tells_everything(tmp_path: Path) -> None:
    """Its event and its reason; of one that is not there, that."""
    await with_letters(tmp_path / "j")
    done = await alhena("dead-letters", "show", "j", "3", cwd=tmp_path)
    assert "expired" in done.out
    assert "too late" in done.out
    assert "A3" in done.out
    assert "550e8400-e29b-41d4-a716-000000000003" in done.out
    as_json = await alhena("dead-letters", "show", "j", "1", "--json", cwd=tmp_path)
    assert json.loads(as_json.out, parse_float=str)["event"]["value"] == "9.50"
    missing = await alhena("dead-letters", "show", "j", "9", cwd=tmp_path)
    assert (missing.status, "holds no dead letter 9" in missing.err) == (2, True)


async def test_what_is_exported_can_be_replayed(tmp_path: Path) -> None:
    """As `alhena replay` reads it: the same visitors, digits and order ids; for no other eyes."""
    await with_letters(tmp_path / "j")
    done = await alhena("dead-letters", "export", "j", "out.jsonl", cwd=tmp_path)
    assert (done.status, "4 dead letters written" in done.err) == (0, True)
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600
    async with Emulator() as emulator:
        replayed = await alhena(
            "replay", "out.jsonl", "--base-url", emulator.url, "--company-key", "k", cwd=tmp_path
        )
        assert replayed.status == 0, replayed.out + replayed.err
        recorded = emulator.recorded()
    assert {one.fingerprint for one in recorded} == {
        *(f"550e8400-e29b-41d4-a716-{number:012d}" for number in (0, 3, 4))
    }
    assert {one.order_id for one in recorded} == {None, "A3", "auto-4"}
    assert {str(one.value) for one in recorded if one.product_id == "p1"} == {"9.50"}


async def test_an_export_replaces_nothing_unless_told(tmp_path: Path) -> None:
    """Nor does it write through a link."""
    await with_letters(tmp_path / "j")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to("precious")
    for name in ("precious", "link"):
        done = await alhena("dead-letters", "export", "j", name, cwd=tmp_path)
        assert (done.status, "exists" in done.err) == (2, True)
    done = await alhena("dead-letters", "export", "j", "link", "--force", cwd=tmp_path)
    assert done.status == 0
    assert (tmp_path / "precious").read_text() == "precious"
    assert len(rows_of(tmp_path / "link")) == 4


async def test_an_export_can_go_into_a_pipe(tmp_path: Path) -> None:
    """`-` is standard output; what is told goes to standard error."""
    await with_letters(tmp_path / "j")
    done = await alhena("dead-letters", "export", "j", "-", "--kind", "cart", cwd=tmp_path)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["dead_letter"]["id"] for line in lines] == [1, 2]
    assert "2 dead letters written" in done.err


async def test_replay_sends_each_where_it_was_to_go_and_marks_it(tmp_path: Path) -> None:
    """Under its own key and order id; a second run has nothing to send."""
    async with Emulator(preconditions=Preconditions.LENIENT) as emulator:
        await with_letters(tmp_path / "j", destination=emulator.url)
        done = await alhena("dead-letters", "replay", "j", cwd=tmp_path)
        assert done.status == 0, done.out + done.err
        assert marks(tmp_path / "j") == ["recorded"] * 4
        recorded = emulator.recorded()
        assert {one.company_key for one in recorded} == {"my-company"}
        assert {one.order_id for one in recorded} == {None, "A3", "auto-4"}
        again = await alhena("dead-letters", "replay", "j", cwd=tmp_path)
        assert (again.status, "Nothing to send: 4 letters went before" in again.out) == (0, True)
        assert emulator.recorded_count == 4
        forced = await alhena("dead-letters", "replay", "j", "--again", "--id", "3", cwd=tmp_path)
        assert forced.status == 0  # the order was recorded before, which is as good
        assert marks(tmp_path / "j") == ["recorded", "recorded", "duplicate", "recorded"]


async def test_replay_says_so_when_not_all_ended_well(tmp_path: Path) -> None:
    """By its exit status and its summary; the new outcome is noted."""
    async with Emulator(companies=["somebody-else"]) as emulator:
        await with_letters(tmp_path / "j", destination=emulator.url)
        done = await alhena("dead-letters", "replay", "j", "--kind", "cart", cwd=tmp_path)
        assert done.status == 1
        assert "COMPANY_NOT_FOUND" in done.out
        assert marks(tmp_path / "j") == ["rejected", "rejected", None, None]
        known = await alhena(
            "dead-letters", "replay", "j", "--again", "--send-as", "somebody-else", cwd=tmp_path
        )
        assert known.status == 0
        assert marks(tmp_path / "j") == ["recorded"] * 4


async def test_replay_can_go_elsewhere(tmp_path: Path) -> None:
    """To another URL than the letters name."""
    await with_letters(tmp_path / "j", destination="http://127.0.0.1:1/")
    async with Emulator() as emulator:
        done = await alhena("dead-letters", "replay", "j", "--base-url", emulator.url, cwd=tmp_path)
        assert (done.status, emulator.recorded_count) == (0, 4)


async def test_an_interrupted_replay_leaves_the_rest_unmarked(tmp_path: Path) -> None:
    """The next run sends it, and what was under way where that does no harm."""
    async with Emulator() as emulator:
        emulator.plan(FaultPlan.parse(["hang=1"]))
        await with_letters(tmp_path / "j", destination=emulator.url)
        arguments = ("dead-letters", "replay", "j", "--max-in-flight", "1", "--drain", "0")
        async with started(*arguments, cwd=tmp_path) as process:
            await emulator.wait_until(lambda: emulator.requests >= 1, timeout=PATIENCE)
            process.terminate()
            done = await ended(process)
        assert done.status == 143, done.out + done.err
        assert marks(tmp_path / "j").count(None) == 3
        emulator.plan(FaultPlan())
        rest = await alhena("dead-letters", "replay", "j", cwd=tmp_path)
        assert (rest.status, emulator.recorded_count) == (0, 4)


async def test_a_replay_marks_what_is_under_way_alone(tmp_path: Path) -> None:
    """What waits for its turn is not marked: should the process die, it is not taken for sent."""
    async with Emulator() as emulator:
        emulator.plan(FaultPlan.parse(["hang=1"]))
        async with opened(tmp_path / "j", destination=emulator.url) as journal:
            journal.settle([ending(None, EXPIRED, event=cart(n, of=n)) for n in range(100)])
            await journal.sync()
        arguments = ("dead-letters", "replay", "j", "--max-in-flight", "1", "--drain", "0")
        async with started(*arguments, cwd=tmp_path) as process:
            await emulator.wait_until(lambda: emulator.requests >= 1, timeout=PATIENCE)
            assert marks(tmp_path / "j") == ["sending", *[None] * 99]
            process.kill()
            await ended(process)
        assert marks(tmp_path / "j") == ["sending", *[None] * 99]


async def with_each_kind(directory: Path, *, destination: str) -> Path:
    """Make a directory with a cart, an order with an id and one without."""
    async with opened(directory, destination=destination) as journal:
        for event, order_id in ((cart(1), None), (order(2, order_id="A2"), "A2"), (order(3), None)):
            journal.settle([ending(None, EXPIRED, event=event, order_id=order_id)])
        await journal.sync()
    return directory


def claim_all(directory: Path) -> None:
    """Leave every letter as a run does that dies while all are under way."""
    with DeadLetters(directory) as box:
        assert all(box.claim(letter) for letter in box.list())


async def test_what_a_dead_run_had_under_way_is_taken_up(tmp_path: Path) -> None:
    """But for an order without an id: in doubt, told, status 1, until it is chosen."""
    async with Emulator() as emulator:
        claim_all(await with_each_kind(tmp_path / "j", destination=emulator.url))
        listed = await alhena("dead-letters", "list", "j", "--sending", "--json", cwd=tmp_path)
        assert len(listed.out.splitlines()) == 3
        done = await alhena("dead-letters", "replay", "j", cwd=tmp_path)
        assert marks(tmp_path / "j") == ["recorded", "recorded", "sending"]
        assert (done.status, "1 letter in doubt" in done.out) == (1, True), done.out
        again = await alhena("dead-letters", "replay", "j", cwd=tmp_path)
        assert (again.status, "Nothing to send" in again.out) == (1, True)
        assert "1 letter in doubt" in again.out
        assert emulator.recorded_count == 2
        chosen = await alhena("dead-letters", "replay", "j", "--sending", cwd=tmp_path)
        assert (chosen.status, marks(tmp_path / "j")) == (0, ["recorded"] * 3)


async def test_two_replays_at_once_send_no_letter_twice(tmp_path: Path) -> None:
    """The second waits for the first one's end, and finds nothing left."""
    async with Emulator() as emulator:
        emulator.plan(FaultPlan.parse(["latency=1:20ms"]))
        async with opened(tmp_path / "j", destination=emulator.url) as journal:
            journal.settle([ending(None, EXPIRED, event=order(n)) for n in range(60)])
            await journal.sync()
        runs = [alhena("dead-letters", "replay", "j", cwd=tmp_path) for _ in range(2)]
        done = await asyncio.gather(*runs)
        assert [run.status for run in done] == [0, 0], done
        assert any("Nothing to send" in run.out for run in done)
        assert emulator.recorded_count == 60
    assert marks(tmp_path / "j") == ["recorded"] * 60


async def test_a_replay_does_not_wait_for_ever(tmp_path: Path) -> None:
    """Where another run has the letters for longer than an event is tried, it says so and ends."""
    await with_each_kind(tmp_path / "j", destination=DESTINATION)
    with DeadLetters(tmp_path / "j") as other:
        assert other.hold()
        arguments = ("dead-letters", "replay", "j", "--give-up-after", "1")
        done = await alhena(*arguments, cwd=tmp_path)
    assert (done.status, "another run still sends" in done.err) == (2, True), done
    assert marks(tmp_path / "j") == [None] * 3


async def test_what_an_outage_left_is_sent_by_the_next_run(tmp_path: Path) -> None:
    """Refused connections: status 1, and no letter has failed for it."""
    async with Emulator() as emulator:
        await with_each_kind(tmp_path / "j", destination=emulator.url)
        await emulator.stop()
        arguments = ("dead-letters", "replay", "j", "--limit", "2", "--give-up-after", "1")
        done = await alhena(*arguments, cwd=tmp_path)
        assert (done.status, "2 letters not sent yet" in done.out) == (1, True), done
        await emulator.start()
        last = await alhena("dead-letters", "replay", "j", cwd=tmp_path)
        assert (last.status, emulator.recorded_count) == (0, 3), last


async def test_what_may_have_left_is_not_given_back(tmp_path: Path) -> None:
    """An answer that is lost, and then connections that are refused: it is not unsent again."""
    async with Emulator() as emulator:
        await with_each_kind(tmp_path / "j", destination=emulator.url)
        emulator.script(Fault("reset-after"))
        arguments = ("dead-letters", "replay", "j", "--kind", "cart", "--give-up-after", "2")
        async with started(*arguments, cwd=tmp_path) as process:
            await emulator.wait_until(lambda: emulator.requests == 1, timeout=PATIENCE)
            await emulator.stop()
            done = await ended(process)
        assert (done.status, marks(tmp_path / "j")) == (1, ["expired", None, None]), done
        await emulator.start()
        assert (await alhena("dead-letters", "replay", "j", cwd=tmp_path)).status == 0


async def test_what_failed_again_is_told_and_can_be_chosen(tmp_path: Path) -> None:
    """Status 1 as long as it stands; `--failed-again` lists it, and sends it once more."""
    async with Emulator(companies=["somebody-else"]) as emulator:
        await with_each_kind(tmp_path / "j", destination=emulator.url)
        first = await alhena("dead-letters", "replay", "j", "--kind", "cart", cwd=tmp_path)
        assert (first.status, "1 letter failed again" in first.out) == (1, True)
        idle = await alhena("dead-letters", "replay", "j", "--kind", "cart", cwd=tmp_path)
        assert (idle.status, "1 letter failed again" in idle.out) == (1, True)
        listed = await alhena("dead-letters", "list", "j", "--failed-again", "--json", cwd=tmp_path)
        assert [json.loads(line)["id"] for line in listed.out.splitlines()] == [1]
        chosen = ("--failed-again", "--send-as", "somebody-else")
        last = await alhena("dead-letters", "replay", "j", *chosen, cwd=tmp_path)
        assert (last.status, emulator.recorded_count) == (0, 1), last
    assert marks(tmp_path / "j") == ["recorded", None, None]


async def test_a_letter_that_is_deleted_meanwhile_is_not_sent(tmp_path: Path) -> None:
    """Nor one that somebody notes by hand: what is on disk counts, not what was read."""
    async with Emulator() as emulator:
        emulator.plan(FaultPlan.parse(["latency=1:200ms"]))
        async with opened(tmp_path / "j", destination=emulator.url) as journal:
            journal.settle([ending(None, EXPIRED, event=cart(n, of=n)) for n in range(12)])
            await journal.sync()
        arguments = ("dead-letters", "replay", "j", "--max-in-flight", "1")
        async with started(*arguments, cwd=tmp_path) as process:
            await emulator.wait_until(lambda: emulator.requests >= 1, timeout=PATIENCE)
            with DeadLetters(tmp_path / "j") as box:
                box.note(12, "recorded", "entered by hand")
                box.purge(DeadLetterFilter(ids=(11,)))
            done = await ended(process)
        assert (done.status, emulator.recorded_count) == (0, 10), done
    assert letters_in(tmp_path / "j")[-1]["resent_detail"] == "entered by hand"


async def test_an_interrupted_replay_keeps_what_an_earlier_one_noted(tmp_path: Path) -> None:
    """What was recorded and not sent once more is still known to be recorded."""
    async with Emulator() as emulator:
        await with_letters(tmp_path / "j", destination=emulator.url)
        assert (await alhena("dead-letters", "replay", "j", cwd=tmp_path)).status == 0
        emulator.plan(FaultPlan.parse(["hang=1"]))
        again = ("dead-letters", "replay", "j", "--again", "--max-in-flight", "1", "--drain", "0")
        async with started(*again, cwd=tmp_path) as process:
            await emulator.wait_until(lambda: emulator.requests >= 5, timeout=PATIENCE)
            process.terminate()
            await ended(process)
        assert sorted(map(str, marks(tmp_path / "j"))) == ["abandoned", *["recorded"] * 3]


async def test_purge_of_what_was_sent_again_keeps_what_failed_once_more(tmp_path: Path) -> None:
    """`--resent` lets go of what arrived: a refusal the second time is no reason to forget."""
    async with Emulator(preconditions=Preconditions.STRICT) as emulator:
        async with opened(tmp_path / "j", destination=emulator.url) as journal:
            increased = CartEvent.for_change(
                visitor(1), before=1, after=2, product_id="p", product_name="Mug", value=1,
                currency="EUR",
            )  # fmt: skip
            for event in (cart(1), increased, order(3, order_id="A3"), order(4)):
                journal.settle([ending(None, EXPIRED, event=event)])
            await journal.sync()
        done = await alhena("dead-letters", "replay", "j", "--limit", "3", cwd=tmp_path)
        assert done.status == 1
        assert marks(tmp_path / "j") == ["recorded", "rejected", "recorded", None]
    purged = await alhena("dead-letters", "purge", "j", "--resent", "--yes", cwd=tmp_path)
    assert (purged.status, "2 deleted" in purged.out) == (0, True)
    assert "1 dead letter did not arrive when sent again" in purged.out
    assert [letter["id"] for letter in letters_in(tmp_path / "j")] == [2, 4]
    again = await alhena("dead-letters", "purge", "j", "--resent", "--yes", cwd=tmp_path)
    assert "Nothing to delete." in again.out
    everything = await alhena("dead-letters", "purge", "j", "--yes", cwd=tmp_path)
    assert "2 deleted" in everything.out


async def test_purge_asks_first(tmp_path: Path) -> None:
    """Without an answer nothing is deleted; with --yes only what matches."""
    await with_letters(tmp_path / "j")
    asked = await alhena("dead-letters", "purge", "j", cwd=tmp_path)
    assert (asked.status, "Delete 4 dead letters for good?" in asked.err) == (1, True)
    assert len(letters_in(tmp_path / "j")) == 4
    done = await alhena("dead-letters", "purge", "j", "--yes", "--kind", "cart", cwd=tmp_path)
    assert (done.status, "2 deleted" in done.out) == (0, True)
    assert [letter["id"] for letter in letters_in(tmp_path / "j")] == [3, 4]


@pytest.mark.parametrize("command", ["list", "replay", "purge"])
async def test_a_journal_without_letters_is_no_error(tmp_path: Path, command: str) -> None:
    """And none is made of it."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(1)])
        before = files_in(tmp_path / "j", "*")
        done = await alhena("dead-letters", command, "j", cwd=tmp_path)
        assert done.status == 0
        assert files_in(tmp_path / "j", "*") == before


@pytest.mark.parametrize("command", ["journal inspect", "dead-letters list", "dead-letters purge"])
async def test_what_is_no_journal_is_said_to_be_none(tmp_path: Path, command: str) -> None:
    """A mistyped path is no empty journal: another directory, an empty one, a file, or nothing."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "orders.events").write_bytes(b"of somebody else")
    (tmp_path / "empty").mkdir(mode=0o700)
    (tmp_path / "file").touch()
    for name, told in (
        ("other", "other is no journal directory"),
        ("empty", "empty is no journal directory"),
        ("file", "is a file"),
        ("k", "k cannot be read: No such file"),
    ):
        done = await alhena(*command.split(), name, cwd=tmp_path)
        assert (done.status, done.out, told in done.err) == (2, "", True), done


async def test_damaged_letters_are_said_to_be(tmp_path: Path) -> None:
    """Looking changes nothing."""
    (tmp_path / "j").mkdir(mode=0o700)
    (tmp_path / "j" / "dead-letters.sqlite3").write_bytes(b"nonsense" * 1_000)
    done = await alhena("dead-letters", "list", "j", cwd=tmp_path)
    assert (done.status, "damaged" in done.err) == (2, True)
    assert [path.name for path in files_in(tmp_path / "j", "*")] == ["dead-letters.sqlite3"]


# --- alhena journal inspect ----------------------------------------------------------------------


async def inspected(directory: Path) -> tuple[int, dict[str, Any]]:
    """Return the exit status of an inspection, and what it tells."""
    done = await alhena("journal", "inspect", directory, "--json", cwd=directory.parent)
    found: dict[str, Any] = json.loads(done.out)
    return done.status, found


async def test_inspect_looks_at_a_live_directory_without_disturbing_it(tmp_path: Path) -> None:
    """Who holds which file, what waits in it, and how old it is."""
    directory = await with_letters(tmp_path / "j")
    async with opened(directory) as left:
        await committed(left, [cart(1), cart(2)])
    async with opened(directory) as journal:
        await committed(journal, [cart(3), order(4), order(5)])
        before = {path.name: path.stat().st_mtime_ns for path in files_in(directory, "*.events")}
        status, found = await inspected(directory)
        after = {path.name: path.stat().st_mtime_ns for path in files_in(directory, "*.events")}
        assert before == after
        await committed(journal, [cart(6)])  # it goes on
    assert status == 0
    facts = [(one["held"], one["carts"], one["checkouts"]) for one in found["files"]]
    assert facts == [(False, 2, 0), (True, 1, 2)]
    assert {one["destination"] for one in found["files"]} == {DESTINATION}
    assert all(0 <= one["oldest_age"] < 600 for one in found["files"])
    assert {"status": "expired", "code": None, "count": 2} in found["dead_letters"]


async def test_inspect_reads_what_a_kill_left(tmp_path: Path) -> None:
    """Most of it stands in the log."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(number) for number in range(5)])
        (tmp_path / "k").mkdir(mode=0o700)
        for path in files_in(tmp_path / "j", "*"):
            (tmp_path / "k" / path.name).write_bytes(path.read_bytes())
    _, found = await inspected(tmp_path / "k")
    assert [(one["held"], one["carts"]) for one in found["files"]] == [(False, 5)]


async def test_inspect_tells_of_damage(tmp_path: Path) -> None:
    """By its exit status too: of a damaged file, and of those that were set aside."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(1)])
    (path,) = files_in(tmp_path / "j")
    overwrite(path, 0, b"garbage" * 100)
    status, found = await inspected(tmp_path / "j")
    assert status == 1
    assert "damaged" in found["files"][0]["problem"]
    assert found["files"][0]["destination"] == DESTINATION  # its lock file says so
    async with opened(tmp_path / "j") as journal:
        await adopted(journal)
    status, found = await inspected(tmp_path / "j")
    assert (status, [Path(one).name for one in found["damaged"]]) == (
        1,
        ["00000001.events.damaged"],
    )


async def test_inspect_shows_a_table(tmp_path: Path) -> None:
    """For people."""
    await with_letters(tmp_path / "j")
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(1), order(2)])
    done = await alhena("journal", "inspect", "j", cwd=tmp_path)
    assert "1 cart event, 1 checkout" in done.out
    assert "left behind" in done.out
    assert "PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND" in done.out


async def test_an_older_sqlite_file_of_letters_is_brought_up(tmp_path: Path) -> None:
    """An empty file, as a process that died in between leaves it, is no damage."""
    (tmp_path / "j").mkdir(mode=0o700)
    sqlite3.connect(tmp_path / "j" / "dead-letters.sqlite3").close()
    done = await alhena("dead-letters", "list", "j", cwd=tmp_path)
    assert (done.status, done.out) == (0, "No dead letters.\n")
