"""How long a test waits for what is bound to happen: only a hang takes longer, on any machine."""

from typing import Final

PATIENCE: Final = 300.0
"""Seconds. No test may pass or fail by it."""
