"""For the tests of code that uses this package: fakes of the API, and a clock that jumps.

`MemoryTransport` is the API without sockets, `MemoryBroker` a broker without a server,
`EmulatorThread` a real API server that any test can use, `VirtualLoop` lets hours of backoff pass
in no time. As pytest fixtures: `alhena_emulator`,
`alhena_client`, `alhena_transport`, `alhena_memory_client`. See `docs/testing.md`.
"""

from alhena_async.testing._broker import MemoryBroker
from alhena_async.testing._clock import VirtualLoop, run_virtually, virtual
from alhena_async.testing._memory import MemoryTransport
from alhena_async.testing._rules import Answer, Sent
from alhena_async.testing._thread import EmulatorThread

__all__ = [
    "Answer",
    "EmulatorThread",
    "MemoryBroker",
    "MemoryTransport",
    "Sent",
    "VirtualLoop",
    "run_virtually",
    "virtual",
]
