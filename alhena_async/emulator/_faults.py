"""Faults: what can go wrong with a request, scripted or at random."""

from __future__ import annotations

import random
import re
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Self

from attrs import Attribute, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class FaultKind(StrEnum):
    """What happens instead of, or on top of, the normal answer.

    *Recorded* means judged by the contract as usual: an event that it refuses stays refused.
    """

    STATUS = "status"
    """Not recorded; `status` with `retry_after`, `headers` and `body`."""
    STATUS_AFTER = "status-after"
    """Recorded, and then answered as STATUS: the sender cannot know."""
    RESET_BEFORE = "reset-before"
    """Not recorded; the TCP connection is reset."""
    RESET_AFTER = "reset-after"
    """Recorded; the TCP connection is reset instead of an answer."""
    HANG = "hang"
    """Not recorded, never answered; ends when the peer leaves or the emulator stops."""
    HANG_AFTER = "hang-after"
    """Recorded, never answered; ends as HANG does."""
    TRUNCATED = "truncated"
    """Recorded; the connection closes after half of the bytes that Content-Length promised."""
    HTML = "html"
    """Not recorded; 200 with a proxy's HTML page (`status` and `body` may replace it)."""
    LATENCY = "latency"
    """Recorded on arrival; the normal answer comes `latency` seconds later."""

    @property
    def records(self) -> bool:
        """Whether the request reaches the contract at all."""
        return self in _RECORDING


_RECORDING = frozenset(
    {
        FaultKind.STATUS_AFTER,
        FaultKind.RESET_AFTER,
        FaultKind.HANG_AFTER,
        FaultKind.TRUNCATED,
        FaultKind.LATENCY,
    }
)

_STATUS_KINDS = frozenset({FaultKind.STATUS, FaultKind.STATUS_AFTER})


@frozen
class Fault:
    """One fault, for one request."""

    kind: FaultKind = field(converter=FaultKind)
    status: int | None = field(default=None, kw_only=True)
    """HTTP status, 200 to 599; STATUS and STATUS_AFTER need one, HTML may have one."""
    retry_after: float | str | None = field(default=None, kw_only=True)
    """The `Retry-After` header: seconds, or any text (an HTTP date, nonsense). Default: none."""
    latency: float = field(default=0.0, kw_only=True)
    """Seconds before the reply (or reset); default 0, and 0.2 for LATENCY."""
    body: str | bytes | None = field(default=None, kw_only=True)
    """The reply's body in place of the default one. For STATUS, STATUS_AFTER, HTML, TRUNCATED."""
    headers: Mapping[str, str] = field(factory=dict, kw_only=True)
    """More headers for the reply (`Location`, another `Content-Type`); default none."""

    def __attrs_post_init__(self) -> None:
        if self.kind in _STATUS_KINDS and self.status is None:
            raise ValueError(f"a {self.kind} fault needs a status")
        if self.kind is FaultKind.LATENCY and not self.latency:
            object.__setattr__(self, "latency", 0.2)

    @status.validator
    def _check_status(self, _: Attribute[int | None], status: int | None) -> None:
        if status is not None and not 200 <= status <= 599:
            raise ValueError(f"a fault's status must be from 200 to 599, not {status}")

    @latency.validator
    def _check_latency(self, _: Attribute[float], latency: float) -> None:
        if not 0 <= latency <= MAX_SECONDS:
            raise ValueError(f"a fault's latency must be from 0 to {MAX_SECONDS} s, not {latency}")

    @body.validator
    def _check_body(self, _: Attribute[str | bytes | None], body: object) -> None:
        if not isinstance(body, str | bytes | None):
            raise TypeError(f"a fault's body must be str or bytes, not {type(body).__name__}")

    @headers.validator
    def _check_headers(self, _: Attribute[Mapping[str, str]], headers: Mapping[str, str]) -> None:
        for name, value in headers.items():
            _check_header(name, value)

    @retry_after.validator
    def _check_retry_after(self, _: Attribute[float | str | None], value: object) -> None:
        if isinstance(value, str):
            _check_header("Retry-After", value)

    @property
    def reply_headers(self) -> dict[str, str]:
        """`headers` with `Retry-After`."""
        if self.retry_after is None:
            return dict(self.headers)
        text = self.retry_after if isinstance(self.retry_after, str) else f"{self.retry_after:g}"
        return {"Retry-After": text, **self.headers}


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"a fault's header cannot be named {name!r}")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"a fault's header {name} may hold printable ASCII alone in its value")


_HEADER_VALUE = re.compile(r"[ -~]*")

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@frozen
class Share:
    """A fault and the share of requests that get it, from 0 to 1."""

    fault: Fault
    share: float = field()

    @share.validator
    def _check_share(self, _: Attribute[float], share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"a share must be from 0 to 1, not {share}")


@frozen
class FaultPlan:
    """Random faults: each request gets at most one of them, with its share as probability.

    Raises:
        ValueError: The shares add up to more than 1.
    """

    shares: tuple[Share, ...] = ()
    seed: int | None = None
    """Seed of the random numbers; the same seed draws the same sequence. Default: a new one."""

    def __attrs_post_init__(self) -> None:
        total = sum(share.share for share in self.shares)
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of all faults add up to {total:g}, more than 1")

    @classmethod
    def parse(cls, texts: Iterable[str], seed: int | None = None) -> Self:
        """Read a plan from texts of the form `KIND=SHARE[:DETAIL]`.

        | kind | detail (default) | what the share of requests gets |
        |---|---|---|
        | `error`, `error-after` | status (500) | that status; not recorded, recorded |
        | `throttle` | Retry-After (1s) | 429 |
        | `unavailable` | Retry-After (1s) | 503 |
        | `reset` | | half of them reset before recording, half after |
        | `reset-before`, `reset-after` | | one of the two |
        | `hang`, `hang-after` | | no answer; not recorded, recorded |
        | `truncated`, `html` | | half an answer (recorded), a proxy's page (not recorded) |
        | `latency` | time (0.2s) | the normal answer, late |

        Times are `0.2s`, `200ms` or `0.2` (seconds); a share is `0.05` or `5%`.

        Args:
            texts: For example `["error=0.1", "throttle=1%:2s", "latency=0.05:200ms"]`.
            seed: As the field.

        Raises:
            ValueError: Names the text, what is wrong with it, and the kinds.
        """
        shares = [
            Share(Fault(**facts), share) for text in texts for share, facts in parse_share(text)
        ]
        return cls(tuple(shares), seed)

    def sampler(self) -> Callable[[], Fault | None]:
        """Begin the plan's random sequence: each call draws the next request's fault, or None."""
        # One draw for each request, whatever it meets: a seed then means the same sequence.
        source = random.Random(self.seed)

        def draw() -> Fault | None:
            at = source.random()
            for share in self.shares:
                at -= share.share
                if at < 0:
                    return share.fault
            return None

        return draw


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
