"""Event <-> the columns that it is stored in. Pure.

Every row carries a checksum over all that it says, seeded with the destination: a flipped bit in
a page never becomes money, and a row is never sent to another host than the one it was meant for.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from alhena_async._json import dumps, loads
from alhena_async._wire import lane_digest, structure_event, unstructure_event
from alhena_async.errors import InvalidEventError
from alhena_async.events import CartEvent, Event
from alhena_async.journal.protocol import SendMark

__all__ = [
    "COLUMNS",
    "Stored",
    "event_of",
    "is_sound",
    "marked",
    "seed_of",
    "stored",
    "stored_form",
]

COLUMNS: Final = (
    "id", "kind", "guard", "lane", "accepted", "company_key", "order_id", "body", "seal",
)  # fmt: skip
GUARD_STEP: Final = 1 << 32
"""The seal's upper half repeats the guard: a step of the guard is a step of the seal."""

_CART: Final = 0
_CHECKOUT: Final = 1


class Stored(NamedTuple):
    """A row as the database has it."""

    id: int
    kind: int
    """0 for a cart event, 1 for a checkout."""
    guard: int
    lane: int
    accepted: int
    """Microseconds since the epoch, by the clock of the process that accepted it."""
    company_key: str
    order_id: str | None
    body: str
    """The event's stored form as JSON, each number with the digits it had."""
    seal: int


def seed_of(destination: str) -> int:
    """Return what the checksums of a destination's rows begin with."""
    return zlib.crc32(destination.encode("utf-8", "surrogatepass"))


def stored(
    id_: int,
    event: Event,
    *,
    company_key: str,
    order_id: str | None,
    guard: SendMark,
    accepted: float,
    seed: int,
) -> Stored:
    """Return the row of an event.

    Args:
        id_: The row's number in its file.
        event: What was accepted.
        company_key: Whose event it is.
        order_id: The order id that is sent.
        guard: Whether it was sent, as far as the disk knows.
        accepted: Seconds since the epoch.
        seed: `seed_of` its destination.
    """
    kind = _CART if event.__class__ is CartEvent else _CHECKOUT
    lane = lane_digest(event.visitor, company_key)
    moment = int(accepted * 1e6)
    body = dumps(unstructure_event(event)).decode()
    seal = _checksum(seed, id_, kind, lane, moment, company_key, order_id, body)
    return Stored(
        id_, kind, int(guard), lane, moment, company_key, order_id, body, seal + guard * GUARD_STEP
    )


def is_sound(row: Sequence[Any], seed: int) -> bool:
    """Return whether a row is what was once written, for this destination. Never raises."""
    try:
        id_, kind, guard, lane, accepted, company_key, order_id, body, seal = row
        if not (
            all(type(number) is int for number in (id_, kind, guard, lane, accepted, seal))
            and all(type(text) is str for text in (company_key, body))
            and (order_id is None or type(order_id) is str)
            and guard in _GUARDS
        ):
            return False
        checksum = _checksum(seed, id_, kind, lane, accepted, company_key, order_id, body)
    except (TypeError, ValueError):
        return False
    return bool(seal == checksum + guard * GUARD_STEP)


def marked(row: tuple[Any, ...], guard: SendMark) -> tuple[Any, ...]:
    """Return a row with another mark; one that is not guarded, or makes no sense, as it is."""
    head, before, between, seal = row[:2], row[2], row[3:-1], row[-1]
    if type(seal) is not int or before not in _MARKS:
        return row
    return (*head, int(guard), *between, seal + (guard - before) * GUARD_STEP)


_MARKS: Final = (SendMark.UNSENT, SendMark.SENT)

_GUARDS: Final = frozenset(SendMark)


def _checksum(
    seed: int,
    id_: int,
    kind: int,
    lane: int,
    accepted: int,
    company_key: str,
    order_id: str | None,
    body: str,
) -> int:
    order = "-" if order_id is None else f"+{order_id}"
    text = f"{id_} {kind} {lane} {accepted} {len(company_key)} {company_key}{len(order)} {order}"
    head = zlib.crc32(text.encode("utf-8", "surrogatepass"), seed)
    return zlib.crc32(body.encode("utf-8", "surrogatepass"), head)


def event_of(body: str) -> Event:
    """Return the event of a stored form.

    Raises:
        ValueError: It is none; the message names the rule and never the value.
    """
    try:
        form = loads(body)
        if not isinstance(form, dict):
            raise ValueError("is no object")  # noqa: TRY004  one error for every bad form
        return structure_event(form)
    except InvalidEventError as error:
        raise ValueError(str(error)) from None
    except (KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"is no event ({type(error).__name__})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON at {error.pos}") from None


def stored_form(body: str) -> Any:
    """Return a stored form as it was before it was encoded, numbers with the digits they had.

    Raises:
        ValueError: It is no JSON.
    """
    return loads(body)
