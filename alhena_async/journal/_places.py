"""Places: a file, as this process counts them, and a row's id in that file, in one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

__all__ = ["OWN", "base_of", "id_of", "marks_in", "slot_of"]

_Mark = TypeVar("_Mark")

_SLOT: Final = 40
_ID: Final = (1 << _SLOT) - 1
OWN: Final = 0
"""The slot of the file that this process writes."""


def slot_of(place: int) -> int:
    """Return which file a place is in."""
    return place >> _SLOT


def id_of(place: int) -> int:
    """Return which row of its file a place is."""
    return place & _ID


def base_of(slot: int) -> int:
    """Return what the places of a file are counted from."""
    return slot << _SLOT


def marks_in(slot: int, marks: Mapping[int, _Mark]) -> dict[int, _Mark]:
    """Return, by row, those of some marks by place that are about this file."""
    return {id_of(place): mark for place, mark in marks.items() if slot_of(place) == slot}
