"""The journal as the engine uses it: submit, commit, settle, adopt, page, close."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from alhena_async import JournalError, OutcomeStatus
from alhena_async.journal import SendMark, SQLiteJournal
from tests.journals import (
    DESTINATION,
    KEY,
    adopted,
    append,
    cart,
    committed,
    ended,
    files_in,
    left_in,
    letters_in,
    opened,
    order,
    paged,
    products,
)


async def test_what_was_committed_is_there_for_the_next_process(tmp_path: Path) -> None:
    """In order, with everything that was submitted with it."""
    async with opened(tmp_path / "j") as journal:
        row_id = append(
            journal, order(1), company_key="other", order_id="A1", guard=SendMark.UNSENT
        )
        await journal.committed(row_id)
        await committed(journal, [cart(number) for number in range(30)])
    first, *rest = await left_in(tmp_path / "j")
    assert (first.event, first.company_key, first.order_id) == (order(1), "other", "A1")
    assert first.guard is SendMark.UNSENT
    assert 0 <= first.age < 60
    assert [row.event for row in rest] == [cart(number) for number in range(30)]
    assert {row.company_key for row in rest} == {KEY}


async def test_places_grow_and_lanes_are_counted(tmp_path: Path) -> None:
    """A backlog tells how many rows each lane has; row ids follow the order of acceptance."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(number, of=number % 3) for number in range(10)])
    async with opened(tmp_path / "j") as journal:
        (backlog,) = await journal.adopt()
        rows = await paged(journal, backlog)
        assert sorted(backlog.lanes.values()) == [3, 3, 4]
        assert {row.lane for row in rows} == set(backlog.lanes)
        assert [row.row_id for row in rows] == sorted({row.row_id for row in rows})


async def test_a_settled_row_is_gone(tmp_path: Path) -> None:
    """The others stay."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(6)])
        journal.settle([ended(row_id) for row_id in row_ids[1:4]])
    assert products(await left_in(tmp_path / "j")) == ["p0", "p4", "p5"]


async def test_what_ends_before_its_commit_is_never_written(tmp_path: Path) -> None:
    """And whoever waits for that commit is let go."""
    async with opened(tmp_path / "j") as journal:
        row_id = append(journal, cart(0))
        journal.settle([ended(row_id)])
        await journal.committed(row_id)
        assert journal.holds(row_id)
    assert await left_in(tmp_path / "j") == []


async def test_a_kept_event_keeps_its_row(tmp_path: Path) -> None:
    """The next process delivers it."""
    async with opened(tmp_path / "j") as journal:
        (row_id,) = await committed(journal, [cart(0)])
        journal.settle([ended(row_id, OutcomeStatus.KEPT)])
    assert products(await left_in(tmp_path / "j")) == ["p0"]


async def test_nothing_is_left_behind_when_nothing_is_left(tmp_path: Path) -> None:
    """An empty file goes with its lock, its log and its index."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(300)])
        journal.settle([ended(row_id) for row_id in row_ids])
    assert files_in(tmp_path / "j", "*") == []


async def test_an_adopted_file_is_deleted_with_its_last_row(tmp_path: Path) -> None:
    """Not before."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(0), cart(1)])
    (old,) = files_in(tmp_path / "j")
    async with opened(tmp_path / "j") as journal:
        first, second = await adopted(journal)
        journal.settle([ended(first.row_id)])
        await journal.sync()
        assert old.exists()
        journal.settle([ended(second.row_id)])
        await journal.sync()
        assert not list((tmp_path / "j").glob("00000001*"))


async def test_a_replayed_row_that_is_not_settled_stays(tmp_path: Path) -> None:
    """Adopting and paging delete nothing; the next process gets the same."""
    async with opened(tmp_path / "j") as journal:
        await committed(journal, [cart(number) for number in range(20)])
    assert len(await left_in(tmp_path / "j")) == 20
    assert len(await left_in(tmp_path / "j")) == 20


async def test_a_file_that_was_not_checked_to_its_end_is_kept(tmp_path: Path) -> None:
    """A start that is called off while it takes files over deletes none of them."""
    for number in range(2):
        async with opened(tmp_path / "j" / str(number)) as journal:
            await committed(journal, [cart(number)])
    directory = tmp_path / "j" / "0"
    (second,) = files_in(tmp_path / "j" / "1")
    second.rename(directory / "00000002.events")
    async with opened(directory) as journal:
        adoption = asyncio.create_task(journal.adopt())
        await asyncio.sleep(0)  # it is under way
        adoption.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await adoption
    assert products(await left_in(directory)) == ["p0", "p1"]


async def test_files_are_adopted_in_the_order_they_were_begun(tmp_path: Path) -> None:
    """Also those that an adopter left in turn."""
    for number in range(3):
        async with opened(tmp_path / "j") as journal:
            await committed(journal, [cart(number)])
    assert products(await left_in(tmp_path / "j")) == ["p0", "p1", "p2"]
    assert products(await left_in(tmp_path / "j")) == ["p0", "p1", "p2"]


async def test_the_file_of_a_live_journal_is_left_alone(tmp_path: Path) -> None:
    """Also within one process; once it is closed it can be adopted at once."""
    async with opened(tmp_path / "j") as first, opened(tmp_path / "j") as second:
        await committed(first, [cart(0)])
        assert await second.adopt() == []
        await first.close()
        assert products(await adopted(second)) == ["p0"]


async def test_another_destinations_file_is_left_alone(tmp_path: Path) -> None:
    """Events of one host never reach another."""
    async with opened(tmp_path / "j", destination="http://127.0.0.1:1/") as journal:
        await committed(journal, [cart(0)])
    before = (tmp_path / "j" / "00000001.events").read_bytes()
    assert await left_in(tmp_path / "j") == []
    assert (tmp_path / "j" / "00000001.events").read_bytes() == before
    rows = await left_in(tmp_path / "j", destination="http://127.0.0.1:1/")
    assert products(rows) == ["p0"]


async def test_events_for_another_destination_are_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By destination, with how many: who has the wrong base URL would wait in vain."""
    for destination, count in (("http://127.0.0.1:1/", 3), ("http://127.0.0.1:1/", 2), ("x\ny", 1)):
        async with opened(tmp_path, destination=destination) as journal:
            await committed(journal, [cart(number) for number in range(count)])
    caplog.clear()
    async with opened(tmp_path) as journal:
        await journal.adopt()
        await journal.adopt()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.count(DESTINATION) for line in lines] == [1, 1]
    assert "holds 5 events that dead processes left for http://127.0.0.1:1/:" in lines[0]
    assert "holds 1 events that dead processes left for x y:" in lines[1]
    assert len(await left_in(tmp_path, destination="http://127.0.0.1:1/")) == 5


async def test_nothing_left_for_another_destination_is_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor are the events of a process that lives: it delivers them itself."""
    async with opened(tmp_path, destination="http://127.0.0.1:1/") as theirs:
        await committed(theirs, [cart(1)])
        async with opened(tmp_path) as journal:
            await journal.adopt()
    assert caplog.records == []


async def test_commits_are_shared(tmp_path: Path) -> None:
    """Whoever waits is woken once its row is on disk, whatever the order of asking."""
    async with opened(tmp_path / "j") as journal:
        row_ids = [append(journal, cart(number)) for number in range(50)]
        waiting = [asyncio.ensure_future(journal.committed(row_id)) for row_id in reversed(row_ids)]
        await asyncio.gather(*waiting)
        assert all(journal.holds(row_id) for row_id in row_ids)


async def test_a_cancelled_waiter_harms_nobody(tmp_path: Path) -> None:
    """The row is written, and the others are woken."""
    async with opened(tmp_path / "j") as journal:
        row_ids = [append(journal, cart(number)) for number in range(3)]
        waiting = [asyncio.ensure_future(journal.committed(row_id)) for row_id in row_ids]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.gather(waiting[0], waiting[2])
        await asyncio.wait({waiting[1]})
        assert journal.holds(row_ids[1])
    assert len(await left_in(tmp_path / "j")) == 3


async def test_a_guarded_row_is_marked_in_one_commit(tmp_path: Path) -> None:
    """Before its own commit or after it; the mark survives."""
    async with opened(tmp_path / "j") as journal:
        (late,) = [append(journal, order(1), guard=SendMark.UNSENT)]
        await journal.committed(late)
        early = append(journal, order(2), guard=SendMark.UNSENT)
        append(journal, order(3), guard=SendMark.UNSENT)
        await journal.mark([late, early], SendMark.SENT)
    guards = [row.guard for row in await left_in(tmp_path / "j")]
    assert guards == [SendMark.SENT, SendMark.SENT, SendMark.UNSENT]


async def test_a_mark_can_be_taken_back(tmp_path: Path) -> None:
    """Also one whose asker waits no longer; rows that are not guarded stay as they are."""
    async with opened(tmp_path / "j") as journal:
        row_ids = [append(journal, order(number), guard=SendMark.UNSENT) for number in range(4)]
        row_ids.append(append(journal, cart(4)))
        await journal.mark(row_ids[:2], SendMark.SENT)
        called_off = asyncio.ensure_future(journal.mark(row_ids[2:3], SendMark.SENT))
        await asyncio.sleep(0)
        called_off.cancel()
        await journal.mark([*row_ids[1:3], row_ids[4]], SendMark.UNSENT)
    guards = [row.guard for row in await left_in(tmp_path / "j")]
    assert guards == [
        SendMark.SENT,
        SendMark.UNSENT,
        SendMark.UNSENT,
        SendMark.UNSENT,
        SendMark.NONE,
    ]


async def test_a_mark_on_an_adopted_row_can_be_taken_back(tmp_path: Path) -> None:
    """Whichever process made it."""
    async with opened(tmp_path / "j") as journal:
        await journal.mark([append(journal, order(1), guard=SendMark.UNSENT)], SendMark.SENT)
    async with opened(tmp_path / "j") as journal:
        (row,) = await adopted(journal)
        await journal.mark([row.row_id], SendMark.UNSENT)
    (row,) = await left_in(tmp_path / "j")
    assert row.guard is SendMark.UNSENT


async def test_a_mark_taken_back_stays_so_in_a_file_that_is_begun_anew(tmp_path: Path) -> None:
    """What is written once more is what the disk had."""
    async with opened(tmp_path / "j") as journal:
        row_ids = [append(journal, order(number), guard=SendMark.UNSENT) for number in range(2)]
        await journal.mark(row_ids, SendMark.SENT)
        await journal.mark(row_ids[:1], SendMark.UNSENT)
        for path in files_in(tmp_path / "j", "*.events*"):
            path.unlink()
        await journal.sync()
    guards = [row.guard for row in await left_in(tmp_path / "j")]
    assert guards == [SendMark.UNSENT, SendMark.SENT]


async def test_an_adopted_row_can_be_marked(tmp_path: Path) -> None:
    """A replayed event may not be repeated either."""
    async with opened(tmp_path / "j") as journal:
        append(journal, order(1), guard=SendMark.UNSENT)
    async with opened(tmp_path / "j") as journal:
        (row,) = await adopted(journal)
        await journal.mark([row.row_id], SendMark.SENT)
        assert journal.holds(row.row_id)
    (row,) = await left_in(tmp_path / "j")
    assert row.guard is SendMark.SENT


async def test_dead_letters_come_before_their_rows_go(tmp_path: Path) -> None:
    """Each with its reason; what ended well leaves none."""
    endings = [
        (OutcomeStatus.REJECTED, True),
        (OutcomeStatus.EXPIRED, True),
        (OutcomeStatus.UNKNOWN, True),
        (OutcomeStatus.DROPPED, True),
        (OutcomeStatus.RECORDED, False),
        (OutcomeStatus.DUPLICATE, False),
        (OutcomeStatus.COALESCED, False),
        (OutcomeStatus.UNATTRIBUTED, False),
        (OutcomeStatus.ABANDONED, False),
    ]
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(number) for number in range(len(endings))])
        for row_id, (status, _) in zip(row_ids, endings, strict=True):
            journal.settle([ended(row_id, status, code="WHY", http_status=400, attempts=2)])
        journal.settle([ended(None, OutcomeStatus.DROPPED, detail="no room")])
    letters = letters_in(tmp_path / "j")
    expected = [status.value for status, makes_one in endings if makes_one]
    assert [letter["status"] for letter in letters] == [*expected, "dropped"]
    assert letters[0]["code"] == "WHY"
    assert (letters[0]["http_status"], letters[0]["attempts"]) == (400, 2)
    assert letters[-1]["detail"] == "no room"
    assert letters[-1]["origin"] is None
    assert await left_in(tmp_path / "j") == []


async def test_a_row_whose_letter_was_kept_has_ended(tmp_path: Path) -> None:
    """The process died between the letter and the row: it is not delivered once more."""
    async with opened(tmp_path / "j") as journal:
        row_ids = await committed(journal, [cart(0), cart(1)])
        saved = {path: path.read_bytes() for path in (tmp_path / "j").iterdir()}
        journal.settle([ended(row_ids[0], OutcomeStatus.REJECTED)])
    for path, content in saved.items():
        path.write_bytes(content)
    assert products(await left_in(tmp_path / "j")) == ["p1"]


async def test_sync_waits_for_everything(tmp_path: Path) -> None:
    """What was submitted before it is on disk after it."""
    async with opened(tmp_path / "j") as journal:
        row_ids = [append(journal, cart(number)) for number in range(5_000)]
        await journal.sync()
        assert all(map(journal.holds, row_ids))
    assert len(await left_in(tmp_path / "j")) == 5_000


async def test_close_writes_what_was_submitted(tmp_path: Path) -> None:
    """And may be called again."""
    journal = SQLiteJournal(tmp_path / "j")
    await journal.open(destination=DESTINATION)
    for number in range(100):
        append(journal, cart(number))
    await journal.close()
    await journal.close()
    assert len(await left_in(tmp_path / "j")) == 100


async def test_a_journal_serves_one_client(tmp_path: Path) -> None:
    """It is opened once, and used only while it is open."""
    journal = SQLiteJournal(tmp_path / "j")
    with pytest.raises(JournalError, match="not open"):
        append(journal, cart(0))
    await journal.open(destination=DESTINATION)
    with pytest.raises(JournalError, match="opened before"):
        await journal.open(destination=DESTINATION)
    await journal.close()
    with pytest.raises(JournalError, match="closed"):
        append(journal, cart(0))
    with pytest.raises(JournalError, match="opened before"):
        await journal.open(destination=DESTINATION)


async def test_one_that_was_never_opened_can_be_closed(tmp_path: Path) -> None:
    """It leaves no trace."""
    journal = SQLiteJournal(tmp_path / "j")
    await journal.close()
    assert files_in(tmp_path, "*") == []


async def test_cancelled_while_it_opens_it_leaves_nothing(tmp_path: Path) -> None:
    """No thread, no lock, no file."""
    journal = SQLiteJournal(tmp_path / "j")
    opening = asyncio.ensure_future(journal.open(destination=DESTINATION))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert journal._writer is not None
    await asyncio.to_thread(journal._writer._thread.join, 10)
    assert not journal._writer._thread.is_alive()
    assert not list((tmp_path / "j").glob("0*"))


async def test_no_thread_outlives_close(tmp_path: Path) -> None:
    """It is joined or about to end."""
    async with opened(tmp_path / "j") as journal:
        pass
    assert journal._writer is not None
    await asyncio.to_thread(journal._writer._thread.join, 10)
    assert not journal._writer._thread.is_alive()


async def test_cancelled_and_then_closed_it_leaves_nothing_either(tmp_path: Path) -> None:
    """As a client does whose start is called off."""
    journal = SQLiteJournal(tmp_path / "j")
    opening = asyncio.ensure_future(journal.open(destination=DESTINATION))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await journal.close()
    assert not list((tmp_path / "j").glob("0*"))


async def test_one_that_could_not_be_opened_can_be_closed(tmp_path: Path) -> None:
    """And its thread is gone."""
    (tmp_path / "j").touch()
    journal = SQLiteJournal(tmp_path / "j")
    with pytest.raises(JournalError, match="no directory"):
        await journal.open(destination=DESTINATION)
    await journal.close()
    assert journal._writer is not None
    await asyncio.to_thread(journal._writer._thread.join, 10)
    assert not journal._writer._thread.is_alive()


async def test_a_process_may_change_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means where it was opened."""
    monkeypatch.chdir(tmp_path)
    async with opened(Path("j")) as journal:
        monkeypatch.chdir("/")
        await committed(journal, [cart(0)])
        journal.settle([ended(None, OutcomeStatus.DROPPED)])
        await journal.sync()
    assert products(await left_in(tmp_path / "j")) == ["p0"]
    assert len(letters_in(tmp_path / "j")) == 1


def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    """It would wait for ever."""
    journal = SQLiteJournal(tmp_path / "j")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(journal.open(destination=DESTINATION))
        with pytest.raises(JournalError, match="another event loop"):
            second.run(journal.sync())
        first.run(journal.close())
