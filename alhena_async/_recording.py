"""Events whose outcome is waited for: one at a time, or many in a bounded window."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import Final

from alhena_async._entrance import Entrance
from alhena_async._envelope import Envelope
from alhena_async.events import Event
from alhena_async.outcomes import Outcome, OutcomeStatus

__all__ = ["record", "record_all"]

_RETURNED_BY_RECORD: Final = frozenset(
    {OutcomeStatus.RECORDED, OutcomeStatus.DUPLICATE, OutcomeStatus.UNATTRIBUTED}
)


async def record(
    entrance: Entrance, event: Event, *, timeout: float | None, company_key: str | None
) -> Outcome:
    """Deliver one event; see `AlhenaClient.record`."""
    envelope: Envelope | None = None
    try:
        async with asyncio.timeout(timeout):
            envelope = await entrance.enter(event, company_key, pinned=True)
            outcome = await envelope
    except TimeoutError:
        if envelope is None or envelope.outcome is None:
            rest = "no room, not accepted" if envelope is None else "the event stays queued"
            raise TimeoutError(f"record: no outcome within {timeout} s; {rest}") from None
        outcome = envelope.outcome  # settled in the very turn in which the time was over
    if outcome.status not in _RETURNED_BY_RECORD:
        outcome.raise_for_status()
    return outcome


async def record_all(
    entrance: Entrance,
    events: Iterable[Event] | AsyncIterable[Event],
    *,
    window: int,
    company_key: str | None,
) -> AsyncIterator[Outcome]:
    """Deliver many events; see `AlhenaClient.record_all`."""
    if window < 1:
        raise ValueError("record_all: window must be at least 1")
    waiting: deque[Envelope] = deque()
    failure: Exception | None = None
    source = _each(events)
    while failure is None:
        try:
            waiting.append(await entrance.enter(await anext(source), company_key, pinned=True))
        except StopAsyncIteration:
            break
        except Exception as error:  # noqa: BLE001  raised below, after what came before it
            failure = error
        while waiting and (len(waiting) >= window or waiting[0].done()):
            yield await waiting.popleft()
    while waiting:
        yield await waiting.popleft()
    if failure is not None:
        raise failure


async def _each(events: Iterable[Event] | AsyncIterable[Event]) -> AsyncGenerator[Event]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event
