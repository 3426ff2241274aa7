"""The examples in docs/testing.md are tests that pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_passes_as_it_stands(pytester: pytest.Pytester) -> None:
    """Each block is copied into a file of its own and run."""
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    pytest.importorskip("httpx", reason="httpx is not installed")
    pytest.importorskip("flask", reason="Flask is not installed")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    for number, block in enumerate(BLOCKS):
        has_test = "def test_" in block
        name = f"test_{number}.py" if has_test else "shop.py"  # which the others test
        (pytester.path / name).write_text(block)
    result = pytester.runpytest_subprocess("--import-mode=prepend")
    result.assert_outcomes(passed=sum(block.count("def test_") for block in BLOCKS))
    assert len(BLOCKS) == 8


def test_the_failure_that_is_shown_is_what_a_user_sees(pytester: pytest.Pytester) -> None:
    """Word for word, but for the fingerprint."""
    [shown] = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    wrong = (
        BLOCKS[0].replace('type="ITEM_ADDED", ', "").replace("quantity=2, value=9.5", "quantity=3")
    )
    (pytester.path / "test_it.py").write_text(wrong)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    lines = [line.replace("…", "*").replace("[", "[[]") for line in shown.splitlines()]
    result.stdout.fnmatch_lines([f"E *{line}" for line in lines])
