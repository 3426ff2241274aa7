"""Faults: what can go wrong with a request, scripted or at random."""

from __future__ import annotations

import random
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from attrs import Attribute, field, frozen

from alhena_async.emulator import _faulttext

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
        if not 0 <= latency <= _faulttext.MAX_SECONDS:
            raise ValueError(
                f"a fault's latency must be from 0 to {_faulttext.MAX_SECONDS} s, not {latency}"
            )

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
    if not value.isprintable():
        raise ValueError(f"a fault's header {name} has a control character in its value")


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
            Share(Fault(**facts), share)
            for text in texts
            for share, facts in _faulttext.parse_share(text)
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
