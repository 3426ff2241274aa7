"""The text form of random faults: `KIND=SHARE[:DETAIL]`."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SECONDS = 3600.0

_TIME = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>ms|s|)", re.ASCII)
_SHARE = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<percent>%?)", re.ASCII)


class _Detail(Enum):
    """What may stand after a second colon."""

    NOTHING = "nothing"
    STATUS = "a status (error=0.1:502)"
    TIME = "a time (throttle=0.1:2s, latency=0.1:200ms)"


@frozen
class _Form:
    kinds: tuple[str, ...]
    detail: _Detail = _Detail.NOTHING
    fact: str = ""
    default: float | int = 0
    status: int | None = None


_FORMS = {
    "error": _Form(("status",), _Detail.STATUS, "status", 500),
    "error-after": _Form(("status-after",), _Detail.STATUS, "status", 500),
    "throttle": _Form(("status",), _Detail.TIME, "retry_after", 1.0, 429),
    "unavailable": _Form(("status",), _Detail.TIME, "retry_after", 1.0, 503),
    "reset": _Form(("reset-before", "reset-after")),
    "reset-before": _Form(("reset-before",)),
    "reset-after": _Form(("reset-after",)),
    "hang": _Form(("hang",)),
    "hang-after": _Form(("hang-after",)),
    "truncated": _Form(("truncated",)),
    "html": _Form(("html",)),
    "latency": _Form(("latency",), _Detail.TIME, "latency", 0.2),
}


def parse_share(text: str) -> list[tuple[float, dict[str, Any]]]:
    """Read one text into shares and the facts of their faults.

    Raises:
        ValueError: Names the text, what is wrong with it, and the kinds.
    """
    name, equals, rest = text.strip().partition("=")
    share_text, colon, detail = rest.partition(":")
    form = _FORMS.get(name.strip())
    if form is None:
        raise _bad(text, f"no kind is called {name.strip()!r}")
    if not equals:
        raise _bad(text, "a share is missing")
    share = _share(text, share_text.strip())
    facts: dict[str, Any] = {"status": form.status} if form.status else {}
    if colon and form.detail is _Detail.NOTHING:
        raise _bad(text, f"{name} takes nothing after the share")
    if form.fact:
        facts[form.fact] = _READ[form.detail](text, detail.strip()) if colon else form.default
    return [(share / len(form.kinds), {"kind": kind, **facts}) for kind in form.kinds]


def _share(text: str, share: str) -> float:
    found = _SHARE.fullmatch(share)
    value = float(found["number"]) / (100 if found["percent"] else 1) if found else -1.0
    if not 0 <= value <= 1:
        raise _bad(text, f"the share must be from 0 to 1 (or 0% to 100%), not {share!r}")
    return value


def _time(text: str, detail: str) -> float:
    found = _TIME.fullmatch(detail)
    seconds = float(found["number"]) / (1000 if found["unit"] == "ms" else 1) if found else -1.0
    if not 0 <= seconds <= MAX_SECONDS:
        raise _bad(text, f"a time is written 0.2s or 200ms, up to an hour, not {detail!r}")
    return seconds


def _status(text: str, detail: str) -> int:
    status = int(detail) if re.fullmatch(r"\d{3}", detail, re.ASCII) else 0
    if not 200 <= status <= 599:
        raise _bad(text, f"a status is a number from 200 to 599, not {detail!r}")
    return status


_READ: dict[_Detail, Callable[[str, str], float]] = {_Detail.STATUS: _status, _Detail.TIME: _time}


def _bad(text: str, reason: str) -> ValueError:
    return ValueError(
        f"bad fault {text!r}: {reason}. Write KIND=SHARE or KIND=SHARE:DETAIL, "
        f"for example error=0.1 or latency=0.05:200ms; the kinds are {', '.join(_FORMS)}"
    )
