"""The oracle of turns would notice if an order that is promised were broken, and no other."""

from tests.crash.turns import judge_turns


def sins(*told: str, settled: tuple[str, ...] = ()) -> list[str]:
    return judge_turns(told, settled).sins


def test_turns_in_order_of_acceptance_are_right() -> None:
    """Of the process's own events and of two dead processes' rows."""
    turns = judge_turns(
        [
            "accepted 3.0.0 3.0 0", "adopted 1", "adopted 2",
            "row 1 1.0.0 1.0", "row 1 1.0.1 4.0", "row 2 2.0.0 2.0",
            "turn 1.0.0", "turn 2.0.0", "turn 3.0.0", "turn 1.0.1",
        ]
    )  # fmt: skip
    assert turns.sins == []
    assert turns.compared == 5


def test_a_row_behind_a_younger_event_is_noticed() -> None:
    """Whether it has its turn later or never."""
    told = ["accepted 2.0.0 2.0 0", "adopted 1", "row 1 1.0.0 1.0", "turn 2.0.0"]
    sin = "2.0.0 had its turn before 1.0.0, which is older"
    assert sins(*told) == [sin]
    assert sins(*told, "turn 1.0.0") == [sin]
    assert sins(*told, settled=("1.0.0",)) == []


def test_files_that_are_not_merged_are_noticed() -> None:
    """File by file is not by acceptance; nor is a file backwards."""
    rows = ["adopted 1", "adopted 2", "row 1 1.0.0 1.0", "row 1 1.0.1 3.0", "row 2 2.0.0 2.0"]
    assert len(sins(*rows, "turn 1.0.0", "turn 1.0.1", "turn 2.0.0")) == 1
    assert len(sins(*rows, "turn 1.0.1", "turn 1.0.0", "turn 2.0.0")) == 2


def test_own_events_are_held_to_their_order() -> None:
    """Wherever they wait, and however close they are."""
    accepted = ["accepted 1.0.0 1.0 1", "accepted 1.0.1 1.0001 0"]
    assert len(sins(*accepted, "turn 1.0.1", "turn 1.0.0")) == 1
    assert len(sins(*accepted, "turn 1.0.1")) == 1


def test_what_had_its_turn_before_the_adoption_stays_in_front() -> None:
    """No row was there then."""
    before = ["accepted 2.0.0 2.0 0", "turn 2.0.0", "adopted 1", "row 1 1.0.0 1.0", "turn 1.0.0"]
    assert sins(*before, "turn 2.0.0") == []


def test_what_was_on_disk_alone_may_come_behind_rows() -> None:
    """But not ahead of older ones."""
    rows = ["adopted 1", "row 1 1.0.0 2.0"]
    assert sins("accepted 2.0.0 1.0 1", *rows, "turn 1.0.0", "turn 2.0.0") == []
    assert len(sins("accepted 2.0.0 1.0 0", *rows, "turn 1.0.0", "turn 2.0.0")) == 1
    assert len(sins("accepted 2.0.0 3.0 1", *rows, "turn 2.0.0", "turn 1.0.0")) == 1


def test_nothing_is_said_of_other_visitors_nor_of_the_same_moment() -> None:
    """Nor of an event of which nobody has said when it was accepted."""
    rows = ["adopted 1", "row 1 1.0.0 1.0", "row 1 1.1.0 1.0"]
    assert sins("accepted 2.0.0 1.0005 0", *rows, "turn 2.0.0", "turn 1.0.0", "turn 1.1.0") == []
    assert sins(*rows, "turn 2.0.0", "turn 1.1.0", "turn 1.0.0") == []
