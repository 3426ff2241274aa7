"""What must be true after any number of kills. Pure: promises and recordings in, sins out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import attrs

__all__ = ["Account", "Recording", "judge"]


@attrs.frozen(kw_only=True)
class Recording:
    """An event that the API recorded."""

    name: str
    """`life.visitor.number`."""
    is_order: bool
    order_id: str | None


@attrs.frozen(kw_only=True)
class Account:
    """What came of a directory's lives."""

    promised: int
    recorded: int
    """Different events."""
    repeated: int
    """Recordings beyond the first of an event."""
    unpromised: int
    """Recorded, though the process died before it could say that they were accepted."""


def judge(
    promised: Sequence[str],
    recordings: Sequence[Recording],
    *,
    excused: Iterable[str] = (),
    one_after_another: bool,
    carts_once: bool = False,
) -> tuple[Account, list[str]]:
    """Return the figures, and every broken promise.

    Args:
        promised: Names of the events whose acceptance was read, in the order of reading.
        recordings: What the API recorded, in its order.
        excused: Names of events that may be missing: their dead letter says that they may not be
            repeated.
        one_after_another: Each life adopted what the one before it had left, so that order holds
            over all of them. (Of processes that live at once, `turns.py` judges what each does.)
        carts_once: A cart event may not be repeated either.
    """
    counts = Counter(recording.name for recording in recordings)
    missing = set(promised) - set(counts) - set(excused)
    sins = [f"{name} was accepted and is lost" for name in sorted(missing)]
    orders = Counter(one.order_id for one in recordings if one.order_id is not None)
    sins += [
        f"order {id_} was recorded {count} times" for id_, count in orders.items() if count > 1
    ]
    sins += [
        f"{one.name} may not be repeated, and was recorded {counts[one.name]} times"
        for one in {one.name: one for one in recordings if one.is_order or carts_once}.values()
        if counts[one.name] > 1
    ]
    sins += _disorder(recordings, "first", one_after_another=one_after_another)
    # One that was sent before it was on disk, and not promised yet, leaves no trace in the journal:
    # what came before it may then be repeated after it. And an order is not recorded again.
    known = set(promised)
    kept = [one for one in reversed(recordings) if one.name in known and not one.is_order]
    sins += _disorder(kept, "last", one_after_another=one_after_another)
    account = Account(
        promised=len(promised),
        recorded=len(counts),
        repeated=counts.total() - len(counts),
        unpromised=len(set(counts) - set(promised)),
    )
    return account, sins


def _disorder(recordings: Sequence[Recording], which: str, *, one_after_another: bool) -> list[str]:
    """First recordings of a visitor must come in the order of acceptance, and so must the last."""
    sins = []
    seen: set[str] = set()
    before: dict[tuple[str, ...], tuple[int, ...]] = {}
    for one in recordings:
        if one.name in seen:
            continue
        seen.add(one.name)
        life, visitor, number = one.name.split(".")
        place = (int(life), int(number)) if one_after_another else (int(number),)
        lane = (visitor,) if one_after_another else (life, visitor)
        if lane in before and (place < before[lane]) == (which == "first"):
            sins.append(f"{one.name}: its {which} recording is out of order")
        before[lane] = place
    return sins
