"""Places: a file, as this process counts them, and a row's id in that file, in one number."""

from __future__ import annotations

from typing import Final

__all__ = ["OWN", "base_of", "id_of", "slot_of"]

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
