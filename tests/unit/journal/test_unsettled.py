"""Rows in memory: against a plain dict, and small."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from alhena_async.journal import SendMark
from alhena_async.journal._unsettled import PendingRow, UnsettledRows
from tests.journals import KEY, cart, order


def kept(id_: int, kind: int = 0) -> PendingRow:
    """Return a row of one of four kinds."""
    if kind == 1:
        return PendingRow(id_, order(id_), KEY, f"A{id_}", SendMark.NONE, id_ / 8)
    if kind == 2:
        return PendingRow(id_, order(id_), KEY, None, SendMark.UNSENT, id_ / 8)
    return PendingRow(id_, cart(id_), KEY if kind == 0 else "other", None, SendMark.NONE, id_ / 8)


@given(
    st.lists(
        st.tuples(st.sampled_from("pppprm"), st.integers(0, 3), st.integers(1, 400)), max_size=300
    )
)
def test_it_is_a_dict_with_an_order(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is put in, taken out and marked."""
    rows, model, last = UnsettledRows(), dict[int, PendingRow](), 0
    for step, kind, number in steps:
        if step == "p":
            last += 1 + number % 90
            model[last] = kept(last, kind)
            rows.put(model[last])
        elif step == "r":
            assert rows.remove(number) == (model.pop(number, None) is not None)
        else:
            guard = SendMark.SENT if kind else SendMark.UNSENT
            rows.mark(number, guard)
            if number in model and model[number].guard is not SendMark.NONE:
                model[number] = model[number]._replace(guard=guard)
        assert len(rows) == len(model)
    for behind in (0, last // 2, last):
        expected = [row for id_, row in sorted(model.items()) if id_ > behind]
        assert list(rows.after(behind)) == expected


def test_a_row_costs_next_to_nothing() -> None:
    """The event is the engine's; under 40 bytes are ours."""
    rows = [kept(id_) for id_ in range(1, 20_001)]
    tracemalloc.start()
    unsettled = UnsettledRows()
    before = tracemalloc.get_traced_memory()[0]
    for row in rows:
        unsettled.put(row)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / len(rows) < 40
