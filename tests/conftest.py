"""What holds for every test: no example of Hypothesis has a deadline, and whom coverage measures.

A busy machine is no reason to fail. Coverage looks away from tests that would be slow under it and
reach nothing of their own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, version

import pytest
from hypothesis import settings
from packaging.version import Version

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_UNMEASURED = (
    "tests/properties/",
    "tests/simulation/",
    "tests/unit/test_operations.py",  # it counts with the same hooks of the interpreter
)


_CLOSES_ITS_STREAMS = Version("0.40")


def pytest_configure(config: pytest.Config) -> None:
    """Let an old starlette's TestClient leave its streams to the garbage collector."""
    with contextlib.suppress(PackageNotFoundError):
        if Version(version("starlette")) < _CLOSES_ITS_STREAMS:
            config.addinivalue_line(
                "filterwarnings", "ignore:Unclosed <MemoryObject:ResourceWarning"
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
