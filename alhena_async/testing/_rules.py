"""What a `MemoryTransport` was told to do, and for which requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from alhena_async.emulator import Facts, Recorded
from alhena_async.emulator._assertions import RECORDED, Wanted
from alhena_async.emulator._contract import Cart, Checkout, Refusal
from alhena_async.emulator._records import recorded as record_of
from alhena_async.outcomes import ErrorCode
from alhena_async.transports import Endpoint, Reply

__all__ = ["Answer", "MakesAnswer", "Reading", "Rule", "Rules", "Sent"]

Reading = Cart | Checkout | Refusal
"""What the contract makes of a body."""


@attrs.frozen(kw_only=True)
class Sent:
    """A request as it arrived."""

    at: float
    """The event loop's time."""
    endpoint: Endpoint
    payload: dict[str, Any]
    """The decoded body."""

    @property
    def fingerprint(self) -> str:
        """The visitor's."""
        return str(self.payload.get("user_fingerprint"))


Answer = Reply | Exception | None
"""A reply, an error to raise instead of one, or None: never an answer."""
MakesAnswer = Callable[[Sent], Answer]


@attrs.define(kw_only=True)
class Rule:
    """What the requests get that meet some facts."""

    wanted: Wanted
    left: int
    """For how many more requests; no matter for an endless one."""
    answer: Answer | MakesAnswer | ErrorCode
    """An `ErrorCode` refuses as the API does."""
    records: bool
    """Whether the event is judged and recorded before it gets the answer."""


class Rules:
    """The counted ones in the order in which they were told, then the latest of the others."""

    def __init__(self) -> None:
        self._counted: list[Rule] = []
        self._endless: deque[Rule] = deque()

    def add(
        self,
        answer: Answer | MakesAnswer | ErrorCode,
        times: int | None,
        facts: Facts,
        *,
        records: bool = False,
    ) -> None:
        """Tell what the next `times` requests get (None: all) that meet the facts.

        Raises:
            ValueError: That is no number of times; there is no such kind or type.
            TypeError: There is no fact of that name, or its value is of the wrong type.
        """
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, or None, not {times}")
        wanted = Wanted.of(facts, RECORDED)
        rule = Rule(wanted=wanted, left=times or 0, answer=answer, records=records)
        if times is None:
            self._endless.appendleft(rule)
        else:
            self._counted.append(rule)

    def take(self, reading: Reading, body: bytes) -> Rule | None:
        """Find the rule for a request, and count it down; None when there is none."""
        request = _Request(reading, body)
        for rule in self._counted:
            if request.meets(rule):
                rule.left -= 1
                if not rule.left:
                    self._counted.remove(rule)
                return rule
        return next((rule for rule in self._endless if request.meets(rule)), None)

    def clear(self) -> None:
        """Forget them all."""
        self._counted.clear()
        self._endless.clear()


class _Request:
    """What rules are held against; made into a record only where one has facts."""

    def __init__(self, reading: Reading, body: bytes) -> None:
        self._reading = reading
        self._body = body
        self._record: Recorded | None = None

    def meets(self, rule: Rule) -> bool:
        if not rule.wanted.facts:
            return True
        if isinstance(self._reading, Refusal):
            return False
        if self._record is None:
            self._record = record_of(self._reading, self._body, seq=0, at=0.0)
        return rule.wanted.meets(self._record)
