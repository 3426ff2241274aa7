"""What is still done as the interpreter ends, while its threads are there."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  its own end must be registered before ours
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["EXIT_TIMEOUT", "at_exit"]

EXIT_TIMEOUT: Final = 10.0
"""Seconds for all clients of one kind together."""

# At `atexit` the threads of executors are gone already, in one of which names are resolved; what is
# registered here runs before they end, and also at the end of a `multiprocessing` child.
at_exit: Final[Callable[[Callable[[], None]], object]] = getattr(
    threading, "_register_atexit", atexit.register
)
