"""What a dead letter is, and which ones are wanted. Pure."""

from __future__ import annotations

from typing import Any, Final

import attrs

from alhena_async._wire import dumps, unstructure_event
from alhena_async.events import CartEvent
from alhena_async.journal.protocol import Ending

__all__ = ["EXCERPT", "Bounds", "Letter", "Wanted", "letter_of", "origin_of"]

EXCERPT: Final = 500
"""Characters kept of what the API said."""


@attrs.frozen(kw_only=True)
class Letter:
    """A dead letter."""

    id: int = 0
    """Its number in the file; 0 before it is kept."""
    origin: str | None
    """The journal row that it was, so that it is kept only once; None if it never had one."""
    destination: str
    """The base URL that it was meant for."""
    company_key: str
    kind: str
    """`cart` or `checkout`."""
    status: str
    """How it ended: an `OutcomeStatus`."""
    code: str | None
    http_status: int | None
    attempts: int
    detail: str | None
    """In words, at most 500 characters. May quote a reply."""
    order_id: str | None
    """The order id that was sent: the caller's or an assigned one."""
    accepted: float
    """Seconds since the epoch."""
    ended: float
    """Seconds since the epoch."""
    body: str
    """The event's stored form, as JSON."""
    resent: float | None = None
    """When it was sent again, in seconds since the epoch."""
    resent_status: str | None = None
    resent_detail: str | None = None


@attrs.frozen(kw_only=True)
class Bounds:
    """How much is kept; the oldest go first."""

    limit: int
    """Letters."""
    age: float
    """Seconds since they ended."""


@attrs.frozen(kw_only=True)
class Wanted:
    """Which letters; every field narrows them down, and by default it is all of them."""

    ids: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    company_keys: tuple[str, ...] = ()
    since: float | None = None
    """Ended then or later, in seconds since the epoch."""
    until: float | None = None
    """Ended before then, in seconds since the epoch."""
    resent: bool | None = None
    """Sent again (True), or not yet (False)."""
    limit: int | None = None
    """The oldest so many."""

    def clause(self) -> tuple[str, list[Any]]:
        """Return the end of a SELECT, and its values."""
        conditions, values = [], list[Any]()
        for column, wanted in (
            ("id", self.ids), ("code", self.codes), ("status", self.statuses),
            ("kind", self.kinds), ("company_key", self.company_keys),
        ):  # fmt: skip
            if wanted:
                conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        for condition, moment in (("ended >= ?", self.since), ("ended < ?", self.until)):
            if moment is not None:
                conditions.append(condition)
                values.append(moment)
        if self.resent is not None:
            conditions.append("resent IS NOT NULL" if self.resent else "resent IS NULL")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        limit = "" if self.limit is None else f" LIMIT {self.limit:d}"
        return f"{where} ORDER BY id{limit}", values


def letter_of(ending: Ending, *, origin: str | None, destination: str, now: float) -> Letter:
    """Return the letter of an event that ended.

    Args:
        ending: How it ended.
        origin: Its journal row.
        destination: Where it was to go.
        now: Seconds since the epoch.
    """
    outcome = ending.outcome
    return Letter(
        origin=origin,
        destination=destination,
        company_key=ending.company_key,
        kind="cart" if outcome.event.__class__ is CartEvent else "checkout",
        status=outcome.status.value,
        code=None if outcome.code is None else str(outcome.code)[:EXCERPT],
        http_status=outcome.http_status,
        attempts=outcome.attempts,
        detail=None if outcome.detail is None else outcome.detail[:EXCERPT],
        order_id=ending.order_id,
        accepted=now - outcome.elapsed,
        ended=now,
        body=dumps(unstructure_event(outcome.event)).decode(),
    )


def origin_of(uuid: str, id_: int) -> str:
    """Return the name of a journal row that is the same in every process."""
    return f"{uuid}:{id_}"
