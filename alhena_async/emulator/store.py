"""Everything the emulator knows, behind one synchronous call for each request.

No await between judging and recording, so no lock is needed and the order of arrival is the order
of the record.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from alhena_async.emulator.contract import Event, EventKind, Refusal, RefusalCode
from alhena_async.emulator.records import History, Recorded, Refused, glimpse, recorded
from alhena_async.emulator.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alhena_async.emulator.faults import FaultKind
    from alhena_async.emulator.ledger import Ledger

STATUSES: Mapping[str, int] = {
    RefusalCode.MISSING_REQUIRED_FIELDS: 400,
    RefusalCode.COMPANY_NOT_FOUND: 404,
    RefusalCode.ACTIVE_TICKET_NOT_FOUND: 404,
    RefusalCode.PREVIOUS_ITEM_ADDED_EVENT_NOT_FOUND: 409,
    RefusalCode.PREVIOUS_QUANTITY_INCREASED_EVENT_NOT_FOUND: 409,
    RefusalCode.ORDER_ALREADY_EXISTS: 409,
}
"""The HTTP status of each refusal. Not documented by the vendor: our choice."""


class Store:
    """The account, the history, and counts that go on past the history's bound.

    Args:
        ledger: The account.
        history: How many recorded and how many refused events are kept.
        statuses: HTTP statuses that replace those of `STATUSES`.
        on_change: Called after every change, synchronously; must be quick and not raise.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        history: int,
        statuses: Mapping[str, int],
        on_change: Callable[[], None],
    ) -> None:
        self.ledger = ledger
        self.recorded: History[Recorded] = History(history)
        self.refused: History[Refused] = History(history)
        self._statuses = {**STATUSES, **statuses}
        self._on_change = on_change
        self.epoch = 0
        """Grows with each `clear`, so that a page knows that its list is void."""
        self._zero()

    def _zero(self) -> None:
        self.seq = 0
        self.requests = 0
        self.recorded_counts: Counter[EventKind] = Counter()
        self.refused_counts: Counter[str] = Counter()
        self.fault_counts: Counter[FaultKind] = Counter()
        self.series = Series()

    def clear(self) -> None:
        """Forget every event and count; open tickets stay open."""
        self.ledger.clear()
        self.recorded.clear()
        self.refused.clear()
        self._zero()
        self.epoch += 1
        self._on_change()

    def count_request(self) -> None:
        """Count a POST at one of the two endpoints, whatever becomes of it."""
        self.requests += 1
        self._on_change()

    def count_fault(self, kind: FaultKind) -> None:
        """Count a fault that is played."""
        self.fault_counts[kind] += 1
        self._on_change()

    def settle(self, kind: EventKind, raw: bytes, reading: Event | Refusal) -> Recorded | Refused:
        """Judge an event by the contract and take it into the account, or refuse it.

        Args:
            kind: The endpoint it came to.
            raw: The body.
            reading: What `read_event` made of the body.
        """
        if isinstance(reading, Refusal):
            return self._refuse(kind, reading, raw)
        refusal = self.ledger.judge(reading)
        if refusal is not None:
            return self._refuse(kind, refusal, raw)
        self.ledger.record(reading)
        record = recorded(reading, raw, seq=self._next(), at=time.time())
        self.recorded.append(record)
        self.recorded_counts[kind] += 1
        self.series.add(record.at, refused=False)
        self._on_change()
        return record

    def refuse(
        self, kind: EventKind, code: str, http_status: int, message: str, raw: bytes = b""
    ) -> Refused:
        """Note a refusal."""
        record = Refused(
            seq=self._next(),
            at=time.time(),
            kind=kind,
            code=str(code),
            http_status=http_status,
            message=message,
            raw=raw,
            **glimpse(raw),
        )
        self.refused.append(record)
        self.refused_counts[record.code] += 1
        self.series.add(record.at, refused=True)
        self._on_change()
        return record

    def _refuse(self, kind: EventKind, why: Refusal, raw: bytes) -> Refused:
        return self.refuse(kind, why.code, self._statuses[why.code], why.message, raw)

    def _next(self) -> int:
        self.seq += 1
        return self.seq
