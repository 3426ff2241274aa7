"""A process that loads what it is told to: coverage, which brings modules, stays out of it."""

from __future__ import annotations

import os
import subprocess
import sys

__all__ = ["run_bare"]


def run_bare(code: str, *arguments: str) -> str:
    """Run a program without a complaint; return what it wrote."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
