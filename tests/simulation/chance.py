"""Nothing is left to chance: jitter is the seed's, the wall clock the loop's."""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from tests.simulation.loop import VirtualLoop

__all__ = ["EPOCH", "no_chance"]

EPOCH = 1_800_000_000.0
"""What `time.time` says at the loop's time 0."""


@contextmanager
def no_chance(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Leave nothing to chance: the engine's jitter is the seed's, its wall clock the loop's."""
    collects = gc.isenabled()
    gc.disable()  # who holds a receipt, and how long, must not hang on it
    log = logging.getLogger("alhena_async")
    level, state = log.level, random.getstate()
    log.setLevel(logging.CRITICAL)
    random.seed(seed)

    def wall_clock() -> float:
        return EPOCH + loop.time()

    try:
        with (
            mock.patch("time.time", wall_clock),
            mock.patch("alhena_async.relay._clock._suspended", return_value=0.0),
        ):
            yield
    finally:
        if collects:
            gc.enable()
        random.setstate(state)
        log.setLevel(level)
