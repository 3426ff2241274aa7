"""The count of what is still on disk, and who is held behind it."""

from alhena_async._queue.backlog import Backlogs
from alhena_async._queue.envelope import Envelope
from alhena_async._queue.flush import FlushGeneration
from alhena_async.journal import Backlog
from tests.scripted import cart, waiting_envelope

A, B = 1, 2


def backlogs(*files: dict[int, int], share: int = 10, rows: int | None = None) -> Backlogs:
    found = Backlogs(share=share)
    for name, lanes in enumerate(files):
        count = sum(lanes.values()) if rows is None else rows
        found.expect(Backlog(file=name, rows=count, lanes=lanes), FlushGeneration())
    return found


def held(found: Backlogs, lane: int, count: int = 1) -> list[Envelope]:
    envelopes = [waiting_envelope(cart(quantity=number + 1), 0.0) for number in range(count)]
    for envelope in envelopes:
        found.hold(lane, envelope)
    return envelopes


def test_a_lane_is_blocked_while_any_file_has_a_row_of_it() -> None:
    """And no other lane is."""
    found = backlogs({A: 1}, {A: 2, B: 1})
    assert found.blocks(A)
    assert found.blocks(B)
    assert not found.blocks(3)
    found.paged_in(0, A)
    found.paged_in(1, A)
    assert found.blocks(A)
    found.paged_in(1, A)
    assert not found.blocks(A)
    found.paged_in(1, B)
    assert found.is_quiet


def test_held_events_are_freed_in_call_order_once_their_last_row_is_in() -> None:
    """Lane by lane, as the lanes became free; their lane stays blocked until all are out."""
    found = backlogs({A: 1, B: 1})
    first, second = held(found, A, 2)
    [other] = held(found, B)
    assert found.next_freed() is None
    found.paged_in(0, B)
    assert found.next_freed() is other
    assert found.next_freed() is None
    found.paged_in(0, A)
    assert found.next_freed() is first
    assert found.blocks(A)
    assert found.next_freed() is second
    assert not found.blocks(A)
    assert found.held_count == 0


def test_a_file_that_is_finished_blocks_nobody_whatever_its_counts() -> None:
    """Rows that never came are told, so that no flush waits for them."""
    found = backlogs({A: 3}, {A: 1})
    [envelope] = held(found, A)
    found.paged_in(0, A)
    _epoch, missing = found.finish(0)
    assert missing == 2
    assert found.next_freed() is None
    found.finish(1)
    assert found.next_freed() is envelope
    assert found.is_quiet


def test_a_lane_that_is_found_in_another_file_meanwhile_stays_blocked() -> None:
    """Who was about to be freed is older than nothing, and waits on."""
    found = backlogs({A: 1})
    first, second = held(found, A, 2)
    found.paged_in(0, A)
    assert found.next_freed() is first
    found.expect(Backlog(file=9, rows=1, lanes={A: 1}), FlushGeneration())
    assert found.next_freed() is None
    found.paged_in(9, A)
    assert found.next_freed() is second
    assert found.next_freed() is None


def test_who_is_settled_while_held_is_held_no_more() -> None:
    """Nothing of it is left, and it is never freed."""
    found = backlogs({A: 1})
    first, second = held(found, A, 2)
    found.let_go(A, first)
    found.paged_in(0, A)
    found.let_go(A, second)
    assert found.next_freed() is None
    assert found.is_quiet
    assert found.held_count == 0


def test_each_row_counts_in_the_epoch_of_its_files_adoption() -> None:
    """From adoption until it is settled, or known never to come; more than promised count too."""
    found = Backlogs(share=10)
    epoch = FlushGeneration()
    found.expect(Backlog(file=0, rows=2, lanes={A: 2}), epoch)
    assert epoch.unsettled == 2
    for _ in range(3):
        assert found.paged_in(0, A) is epoch
    assert epoch.unsettled == 3
    assert found.finish(0) == (epoch, 0)


def test_places_are_kept_for_rows_to_come_and_not_beyond_the_share() -> None:
    """One that is paged in has its place; it is kept again when that one is settled."""
    found = backlogs({A: 5}, share=2)
    assert found.slots == 2
    found.paged_in(0, A)
    found.paged_in(0, A)
    assert found.slots == 0
    found.settled()
    assert found.slots == 1
    found.paged_in(0, A)
    found.settled()
    found.settled()
    assert found.slots == 2
    found.finish(0)
    assert found.slots == 0


def test_an_unfinished_file_has_a_place_however_few_rows_were_counted() -> None:
    """Or its last page would never be asked for."""
    found = backlogs({A: 1}, rows=0)
    assert found.slots == 1
    assert backlogs().slots == 0


def test_counts_that_make_no_sense_are_no_rows() -> None:
    """What comes from a disk is not trusted."""
    found = backlogs({A: 0, B: -3}, rows=0)
    assert found.is_quiet
