"""What stands in an outbox, whatever database it is in: orders told apart, persons found.

An outbox is a few tables and may be large: everything goes through it page by page.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol

import attrs

from alhena_async.events import Visitor
from alhena_async.relay._letters import message_in
from alhena_async.relay._message import indexed, is_of, key_in

__all__ = ["Contents", "Forgotten", "Stands", "dead_orders", "forget_visitor", "stands"]


class Contents(Protocol):
    """The tables of one outbox, opened."""

    async def waiting(self, after: int) -> Sequence[tuple[int, bytes]]:
        """Return ids and messages of the next rows that wait; none: that was all."""

    async def letters(self, after: int) -> Sequence[tuple[int, bytes]]:
        """Return the numbers of the next dead letters, and them; none: that was all."""

    async def found(
        self, company_key: str, order_ids: Sequence[str]
    ) -> tuple[Collection[str], Collection[str]]:
        """Return which of these orders wait, and which were delivered."""

    async def known_since(self) -> float | None:
        """Return since when delivered orders are known, in seconds since the epoch; None: none."""

    async def add(self, sql: str, /, *parameters: Any) -> bool:
        """Put an event in, and commit it; return whether it is a new one."""

    async def remove(self, waiting: Sequence[int], letters: Sequence[int]) -> int:
        """Remove rows; return how many of those that waited may be on their way."""


# --- orders --------------------------------------------------------------------------------------


class Stands(enum.StrEnum):
    """How an order stands."""

    DELIVERED = "delivered"
    """The API has answered: it is recorded, or its visitor has no conversation."""
    WAITING = "waiting"
    DEAD = "dead"
    """It could not be delivered, and is among the letters."""
    MISSING = "missing"
    """Nothing is known of it."""


_Page = Callable[[int], Awaitable[Sequence[tuple[int, bytes]]]]


async def _all(page: _Page) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
    last = 0
    while rows := await page(last):
        yield rows
        last = rows[-1][0]


async def dead_orders(contents: Contents, company_key: str) -> frozenset[str]:
    """Return which orders of an organisation are among the letters."""
    found = set()
    async for page in _all(contents.letters):
        keys = (key_in(message_in(letter)) for _, letter in page)
        found |= {key[1] for key in keys if key is not None and key[0] == indexed(company_key)}
    return frozenset(found)


async def stands(
    contents: Contents, company_key: str, order_ids: Sequence[str], dead: Collection[str]
) -> list[Stands]:
    """Return how each of some orders stands.

    Args:
        contents: Of the outbox.
        company_key: Whose they are.
        order_ids: A thousand or so.
        dead: Those that are among the letters.
    """
    names = [indexed(one) for one in order_ids]
    waiting, delivered = await contents.found(indexed(company_key), names)

    def how(name: str) -> Stands:
        if name in delivered:
            return Stands.DELIVERED
        if name in waiting:
            return Stands.WAITING
        return Stands.DEAD if name in dead else Stands.MISSING

    return [how(name) for name in names]


# --- persons -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Forgotten:
    """What was removed of a person."""

    waiting: int = 0
    """Events that were not delivered."""
    letters: int = 0
    in_hand: int = 0
    """Of those that waited: with a relay right now, which may still send them, or write a letter of
    them: ask again once its lease is over."""


async def forget_visitor(contents: Contents, visitor: Visitor) -> Forgotten:
    """Remove all that waits of a visitor, and all letters.

    Args:
        contents: Of the outbox.
        visitor: By either fingerprint; whatever the company key.
    """
    forgotten = Forgotten()
    async for page in _all(contents.waiting):
        ids = [number for number, body in page if is_of(body, visitor)]
        if ids:
            in_hand = await contents.remove(ids, [])
            forgotten = attrs.evolve(
                forgotten,
                waiting=forgotten.waiting + len(ids),
                in_hand=forgotten.in_hand + in_hand,
            )
    async for page in _all(contents.letters):
        ids = [n for n, letter in page if is_of(message_in(letter), visitor)]
        if ids:
            await contents.remove([], ids)
            forgotten = attrs.evolve(forgotten, letters=forgotten.letters + len(ids))
    return forgotten
