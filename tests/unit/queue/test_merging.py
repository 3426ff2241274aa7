"""Rows of several files in one line, by when they were accepted, one page of each in memory."""

import itertools
import random

import pytest

from alhena_async._queue.merging import MergedRow, RowMerge
from alhena_async.journal import Page, Row, SendMark
from tests.scripted import cart

NOW = 1_000.0


def row(row_id: int, accepted_at: float) -> Row:
    return Row(
        row_id=row_id,
        lane=1,
        event=cart(quantity=row_id + 1),
        company_key="shop",
        order_id=None,
        age=NOW - accepted_at,
        guard=SendMark.NONE,
    )


def page(*rows: Row, last: bool = True) -> Page:
    return Page(rows=rows, last=last)


def merged(*files: list[float]) -> RowMerge:
    merge = RowMerge()
    for file, times in enumerate(files):
        merge.add(file)
        merge.put(file, page(*(row(number, at) for number, at in enumerate(times))), NOW)
    return merge


def rows_of(merge: RowMerge, limit: int = 100) -> list[MergedRow]:
    return list(itertools.islice(iter(merge.take, None), limit))


def taken(merge: RowMerge, limit: int = 100) -> list[tuple[int, int]]:
    return [(one.file, one.row.row_id) for one in rows_of(merge, limit)]


def test_rows_come_by_when_they_were_accepted() -> None:
    """Whichever file they are in."""
    merge = merged([1.0, 4.0], [2.0, 3.0])
    assert taken(merge, 3) == [(0, 0), (1, 0), (1, 1)]
    assert merge.pop_finished() == [1]
    assert taken(merge) == [(0, 1)]
    assert merge.pop_finished() == [0]
    assert not merge


def test_ties_go_to_the_lower_file_and_its_lower_id() -> None:
    """An order that is the same each time."""
    assert taken(merged([5.0, 5.0], [5.0, 5.0])) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_file_keeps_its_own_order_whatever_its_clock_said() -> None:
    """A row behind another one is not accepted before it; its age stays what it is."""
    merge = merged([6.0, 2.0, 7.0], [5.0, 6.5])
    found = rows_of(merge)
    assert [(one.file, one.accepted_at) for one in found] == [
        (1, 5.0), (0, 6.0), (0, 2.0), (1, 6.5), (0, 7.0),
    ]  # fmt: skip
    assert [one.turn for one in found] == [5.0, 6.0, 6.0, 6.5, 7.0]


def test_nothing_is_taken_past_the_end_of_a_page() -> None:
    """The next page's first row may be older than all others."""
    merge = RowMerge()
    merge.add(0)
    merge.add(1)
    assert merge.lacking() == 0
    merge.put(0, page(row(0, 1.0), last=False), NOW)
    assert merge.lacking() == 1
    merge.put(1, page(row(0, 9.0)), NOW)
    assert merge.lacking() is None
    assert taken(merge) == [(0, 0)]
    assert merge.lacking() == 0
    assert merge.read_so_far(0) == 0
    merge.put(0, page(row(1, 8.0)), NOW)
    assert taken(merge) == [(0, 1), (1, 0)]


def test_ages_count_from_when_each_page_was_asked_for() -> None:
    """Pages are read at different times."""
    merge = RowMerge()
    merge.add(0)
    merge.add(1)
    merge.put(0, page(row(0, 500.0)), NOW)  # 500 s old
    merge.put(1, page(row(0, 400.0)), NOW + 200.0)  # 600 s old, but 200 s later
    assert [one.accepted_at for one in rows_of(merge)] == [500.0, 600.0]


def test_an_empty_page_is_not_the_end_and_one_that_fails_is() -> None:
    """A damaged file has none as long as it is salvaged, and nobody waits for it."""
    merge = RowMerge()
    merge.add(0)
    merge.add(1)
    merge.put(0, page(last=False), NOW)
    assert merge.salvaged() == 0
    assert merge.lacking() == 1
    merge.put(1, page(row(0, 1.0)), NOW)
    assert taken(merge) == [(1, 0)]
    assert merge.pop_finished() == [1]
    merge.put(0, page(row(0, 0.5), last=False), NOW)
    assert merge.salvaged() is None
    assert taken(merge) == [(0, 0)]
    merge.drop(0)
    assert not merge


def test_many_files_have_small_pages() -> None:
    """Together they hold what one has alone, or 25 rows each."""
    merge, sizes = RowMerge(), []
    for file in range(20):
        merge.add(file)
        sizes.append(merge.page_size)
    assert (sizes[0], sizes[1], sizes[4], sizes[19]) == (250, 125, 50, 25)


@pytest.mark.parametrize("seed", range(30))
def test_any_files_in_any_pages_come_out_in_order(seed: int) -> None:
    """All rows, once, sorted by time, file and id."""
    dice = random.Random(seed)
    files = {
        file: sorted(float(dice.randrange(40)) for _ in range(dice.randrange(30)))
        for file in range(dice.randint(1, 5))
    }
    merge, came, read = RowMerge(), list[tuple[float, int, int]](), dict.fromkeys(files, 0)
    for file in files:
        merge.add(file)
    while merge:
        while (lacking := merge.lacking()) is not None:
            first, size = read[lacking], dice.randint(1, 4)
            read[lacking] += size
            rows = [row(first + n, at) for n, at in enumerate(files[lacking][first : first + size])]
            merge.put(lacking, page(*rows, last=read[lacking] >= len(files[lacking])), NOW)
        came += [(one.turn, one.file, one.row.row_id) for one in rows_of(merge, dice.randint(1, 5))]
        merge.pop_finished()
    assert came == sorted(
        (at, file, n) for file, times in files.items() for n, at in enumerate(times)
    )


def test_what_is_not_wanted_any_more_is_taken_out_wherever_it_stands() -> None:
    """The first of a file, or all of a page: then the next page has to be read first."""
    merge = RowMerge()
    for file, last in ((0, True), (1, False), (2, True)):
        merge.add(file)
        rows = [row(10 * file + number, file + 3.0 * number) for number in range(3)]
        merge.put(file, page(*rows, last=last), NOW)
    unwanted = [cart(quantity=number + 1) for number in (0, 10, 11, 12)]
    merge.remove(unwanted.__contains__)
    assert merge.take() is None
    assert merge.lacking() == 1
    merge.put(1, page(row(19, 5.5)), NOW)
    assert [one.row.row_id for one in rows_of(merge)] == [20, 1, 21, 2, 19, 22]
    assert sorted(merge.pop_finished()) == [0, 1, 2]
