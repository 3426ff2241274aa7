"""The queue of a shop whose events wait for its end, however many a crowd adds before that."""

from __future__ import annotations

from typing import Final

from alhena_async.policies import QueuePolicy

__all__ = ["WAITING"]

# One worker may have a crowd for itself for long, while another is still starting: with the
# defaults, 1,000 that wait end every linger, and 300 of one visitor end theirs.
WAITING: Final = QueuePolicy(capacity=100_000, lane_capacity=10_000, flush_at=None)
"""How long it lingers is said by `ALHENA_LINGER`."""
