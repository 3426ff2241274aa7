"""Whether a client does its work, and if not, why: answered at once."""

from __future__ import annotations

import attrs

from alhena_async._delivery.lifecycle import ClientState
from alhena_async.observers import BreakerState, Health

__all__ = ["Signs", "judge"]


@attrs.frozen(kw_only=True)
class Signs:
    """What a client's health is judged by.

    Attributes:
        state: How far it is in its life.
        is_here: It was started in this process.
        loop_runs: Its event loop runs.
        journal_lives: The journal's thread does; True without a journal.
        has_room: One more event would be let in, or left to the journal's disk.
        breaker: The worse of the two.
        destination: Where events go.
    """

    state: ClientState
    is_here: bool
    loop_runs: bool
    journal_lives: bool
    has_room: bool
    breaker: BreakerState
    destination: str


_NOT_ALIVE = {
    ClientState.NEW: "the client is not started",
    ClientState.FAILED: "the client's dispatcher failed; the log says why",
    ClientState.CLOSED: "the client is closed",
}


def judge(signs: Signs) -> Health:
    """Return what the signs mean: the gravest is the reason."""
    lost = _lost(signs)
    if lost is not None:
        return Health(ready=False, alive=False, reason=lost)
    busy = _busy(signs)
    return Health(ready=busy is None, alive=True, reason=busy or "")


def _lost(signs: Signs) -> str | None:
    """Return why a client does not live, if so."""
    if signs.state in _NOT_ALIVE:
        return _NOT_ALIVE[signs.state]
    if not signs.is_here:
        return "the client was started in another process"
    if not signs.loop_runs:
        return "the client's event loop does not run"
    return None if signs.journal_lives else "the journal's thread has ended; the log says why"


def _busy(signs: Signs) -> str | None:
    """Return why a living client is not ready, if so."""
    if signs.state is not ClientState.RUNNING:
        return "the client is being closed"
    if signs.breaker is not BreakerState.CLOSED:
        return f"{signs.destination} does not answer; events wait, and are sent once it does"
    return None if signs.has_room else "there is no room for another event"
