"""An emulator of Alhena's documented HTTP contract, with faults and a live page.

It reads the contract by itself and shares no code with the client, so that it cannot share the
client's mistakes::

    async with Emulator(preconditions=Preconditions.STRICT) as emulator:
        emulator.script(Fault(FaultKind.STATUS, status=429, retry_after=1))
        ...  # a client with base_url=emulator.url
        assert emulator.revenue == {"EUR": Decimal("19.90")}
"""

from alhena_async.emulator._assertions import Facts, Recordings, RefusedFacts
from alhena_async.emulator._contract import CartType, EventKind, Line, RefusalCode, Visitor
from alhena_async.emulator._endpoints import Handled
from alhena_async.emulator._faults import Fault, FaultKind, FaultPlan, Share
from alhena_async.emulator._ledger import CartKey, Preconditions, Tickets
from alhena_async.emulator._records import Recorded, Refused
from alhena_async.emulator._server import Emulator

__all__ = [
    "CartKey",
    "CartType",
    "Emulator",
    "EventKind",
    "Facts",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "Handled",
    "Line",
    "Preconditions",
    "Recorded",
    "Recordings",
    "RefusalCode",
    "Refused",
    "RefusedFacts",
    "Share",
    "Tickets",
    "Visitor",
]
