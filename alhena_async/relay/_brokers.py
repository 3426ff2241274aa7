"""Which engine a text names."""

from __future__ import annotations

from alhena_async.relay._jetstream import JetStream
from alhena_async.relay._postgres import Postgres
from alhena_async.relay._seam import Broker

__all__ = ["broker_at", "is_database"]


def is_database(text: str) -> bool:
    """Whether a text names a Postgres database."""
    return text.startswith(("postgres:", "postgresql"))


def broker_at(text: str) -> Broker:
    """Return the broker that a text names.

    Raises:
        ValueError: It names none.
    """
    return Postgres(text) if is_database(text) else JetStream(text)
