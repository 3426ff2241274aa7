"""Past one machine: publish to a broker that the shop runs, deliver from it.

`Publisher` is an `AlhenaClient` with a broker where HTTP was, `Relay` delivers what it published.
`JetStream` (extra `nats`) is the broker of production, `alhena_async.testing.MemoryBroker` the one
of tests. `Broker`, `Channel`, `Source` and what goes over them are the seam to the engine:
provisional until a second engine has used it.
"""

from alhena_async.relay._jetstream import JetStream
from alhena_async.relay._postgres import Postgres
from alhena_async.relay._publisher import Publisher
from alhena_async.relay._relay import Relay, RelayStats
from alhena_async.relay._seam import (
    Broker,
    Channel,
    Lease,
    LeaseLost,
    Parcel,
    ParcelTooLargeError,
    Source,
)

__all__ = [
    "Broker",
    "Channel",
    "JetStream",
    "Lease",
    "LeaseLost",
    "Parcel",
    "ParcelTooLargeError",
    "Postgres",
    "Publisher",
    "Relay",
    "RelayStats",
    "Source",
]
