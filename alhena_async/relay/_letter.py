"""A letter: what a relay could not deliver, and why, as a broker keeps it."""

from __future__ import annotations

import base64
from typing import Any, Final

from alhena_async._json import dumps, loads
from alhena_async.outcomes import Outcome

__all__ = ["UNREADABLE", "letter_of", "shortened", "unreadable_letter"]

_VERSION: Final = 1

UNREADABLE: Final = "unreadable"
"""The status of a message that is none."""


def letter_of(outcome: Outcome, body: bytes, *, destination: str, ended: float) -> bytes:
    """Return the letter of an event that ended badly.

    Args:
        outcome: How it ended.
        body: Its message, as it was published.
        destination: Where it was to go.
        ended: Seconds since the epoch.
    """
    return _letter(
        body,
        status=outcome.status.value,
        code=outcome.code,
        http_status=outcome.http_status,
        attempts=outcome.attempts,
        detail=outcome.detail,
        destination=destination,
        ended=ended,
    )


def unreadable_letter(body: bytes, rule: str, *, destination: str, ended: float) -> bytes:
    """Return the letter of a message that breaks a rule."""
    return _letter(
        body,
        status=UNREADABLE,
        code=None,
        http_status=None,
        attempts=0,
        detail=rule,
        destination=destination,
        ended=ended,
    )


def shortened(letter: bytes, bound: int) -> bytes:
    """Return a letter that fits: with the beginning of its message, and the reason of that.

    Args:
        letter: Larger than the engine takes, as its message fitted in by itself alone.
        bound: Bytes that the engine takes.
    """
    document = loads(letter.decode())
    kept = document.pop("base64", None)
    body = dumps(document.pop("message")) if kept is None else base64.b64decode(kept)
    told = f"cut: its message of {len(body):,} bytes leaves no room for why it ended"
    detail = "; ".join(filter(None, [document["detail"], told]))
    beginning = base64.b64encode(body[: bound // 2]).decode()
    return dumps({**document, "detail": detail, "base64": beginning})


def _letter(body: bytes, *, ended: float, **facts: Any) -> bytes:
    return dumps({"v": _VERSION, **facts, "ended": round(ended, 3), **_kept(body)})


def _kept(body: bytes) -> dict[str, Any]:
    """Return a message as it can stand in JSON: as what it is, or its bytes."""
    try:
        document = loads(body.decode())
        dumps(document)
    except (ValueError, ArithmeticError, RecursionError, TypeError):
        return {"base64": base64.b64encode(body).decode()}
    return {"message": document}
