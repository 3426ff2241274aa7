"""How a journal keeps events; bad values are refused where they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, TypeVar

import attrs

from alhena_async.journal.protocol import FORGOTTEN
from alhena_async.outcomes import Outcome, OutcomeStatus
from alhena_async.policies import finite, whole

__all__ = [
    "OWN",
    "Settings",
    "base_of",
    "id_of",
    "keeps_row",
    "makes_letter",
    "marks_in",
    "slot_of",
]

_SYNCHRONOUS: Final = ("FULL", "NORMAL")


def _known(_: object, field: attrs.Attribute[str], value: object) -> None:
    if value not in _SYNCHRONOUS:
        known = ", ".join(_SYNCHRONOUS)
        raise ValueError(f"SQLiteJournal.{field.name} must be one of {known}, not {value!r}")


@attrs.frozen(kw_only=True)
class Settings:
    """See `SQLiteJournal`, whose arguments these are."""

    ARGUMENTS_OF: ClassVar = "SQLiteJournal"

    synchronous: str = attrs.field(validator=_known)
    max_rows: int = attrs.field(validator=whole(1))
    max_bytes: int = attrs.field(validator=whole(1 << 20))
    dead_letter_limit: int = attrs.field(validator=whole(1))
    dead_letter_age: float = attrs.field(validator=finite(0, inclusive=False))
    dead_letter_bytes: int = attrs.field(validator=whole(1 << 16))


_Mark = TypeVar("_Mark")

_SLOT: Final = 40

_ID: Final = (1 << _SLOT) - 1

OWN: Final = 0
"""The slot of the file that this process writes."""


def slot_of(row_id: int) -> int:
    """Return which file a row is in."""
    return row_id >> _SLOT


def id_of(row_id: int) -> int:
    """Return the id of a row within its file."""
    return row_id & _ID


def base_of(slot: int) -> int:
    """Return the row id that a file's own ids are added to."""
    return slot << _SLOT


def marks_in(slot: int, marks: Mapping[int, _Mark]) -> dict[int, _Mark]:
    """Return, by row, those of some marks by row id that are about this file."""
    return {id_of(row_id): mark for row_id, mark in marks.items() if slot_of(row_id) == slot}


_LETTERS: Final = frozenset(
    {
        OutcomeStatus.REJECTED,
        OutcomeStatus.EXPIRED,
        OutcomeStatus.UNKNOWN,
        OutcomeStatus.DROPPED,
    }
)


def makes_letter(outcome: Outcome) -> bool:
    """Return whether an event that ended so is kept as a dead letter.

    Rejected, expired, unknown and dropped ones are. One that was folded away is not: its survivor
    speaks for it. `UNATTRIBUTED` is the usual case and no failure; `ABANDONED` and `KEPT` events
    are the caller's, or still in the journal.
    """
    return outcome.status in _LETTERS and outcome.detail != FORGOTTEN


def keeps_row(outcome: Outcome) -> bool:
    """Return whether the row stays for the next process."""
    return outcome.status is OutcomeStatus.KEPT
