"""What holds for every test: no example of Hypothesis has a deadline, and whom coverage measures.

A busy machine is no reason to fail. Coverage looks away from tests that would be slow under it and
reach nothing of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_UNMEASURED = (
    "tests/properties/",
    "tests/simulation/",
    "tests/unit/test_operations.py",  # it counts with the same hooks of the interpreter
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Stop measuring while such a test runs."""
    coverage = sys.modules.get("coverage")  # it is loaded where it measures
    measuring = coverage.Coverage.current() if coverage else None
    if measuring is None or not item.nodeid.startswith(_UNMEASURED):
        return (yield)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()
