"""What `alhena doctor` finds: how bad it is, what it is, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs

__all__ = ["Finding", "Level", "error", "info", "is_wrong", "ok", "warning"]


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    """Looked at, and in order."""
    INFO = "info"
    """Nothing is wrong; it may be news, or cannot be told from here."""
    WARNING = "warning"
    """It works now, and somebody should see to it."""
    ERROR = "error"
    """Events are not delivered, not kept or not attributed as long as it stands."""


_WRONG = frozenset({Level.WARNING, Level.ERROR})


@attrs.frozen
class Finding:
    """One thing that was looked at."""

    level: Level
    what: str
    """How it is; no secret and nothing of an event."""
    do: str = ""
    """What to do; empty where there is nothing to do."""


def ok(what: str) -> Finding:
    """Return what is in order."""
    return Finding(Level.OK, what)


def info(what: str, do: str = "") -> Finding:
    """Return what is worth knowing."""
    return Finding(Level.INFO, what, do)


def warning(what: str, do: str) -> Finding:
    """Return what somebody should see to."""
    return Finding(Level.WARNING, what, do)


def error(what: str, do: str) -> Finding:
    """Return what does not work."""
    return Finding(Level.ERROR, what, do)


def is_wrong(findings: Iterable[Finding]) -> bool:
    """Return whether anything is to be done by somebody."""
    return any(one.level in _WRONG for one in findings)
