"""Measurements that are scripts of their own: run as they are, their words kept as they come.

One that is not there, or whose extra is not installed, is skipped with the reason.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

__all__ = ["SCRIPTS"]

_HERE = Path(__file__).parent


@attrs.frozen(kw_only=True)
class Script:
    """A file beside this one."""

    title: str
    path: Path
    needs: tuple[str, ...] = ()
    """Modules without which it cannot run."""

    def run(self, timeout: float) -> dict[str, Any]:
        """Run it, and return its words, or why there are none."""
        missing = [module for module in self.needs if importlib.util.find_spec(module) is None]
        if not self.path.exists():
            return {"title": self.title, "skipped": f"{self.path.name} is not there"}
        if missing:
            return {"title": self.title, "skipped": f"{', '.join(missing)} is not installed"}
        try:
            done = subprocess.run(
                [sys.executable, str(self.path)],
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"title": self.title, "skipped": f"it took more than {timeout:g} s"}
        if done.returncode:
            return {"title": self.title, "skipped": f"it failed: {done.stderr[-500:]}"}
        return {"title": self.title, "text": done.stdout}


SCRIPTS = {
    "durable": Script(
        title="Durable events: `await track` with a journal", path=_HERE / "durable.py"
    ),
    "relay": Script(
        title="The way over a broker: what it costs, how fast it is",
        path=_HERE / "relay.py",
        needs=("nats",),
    ),
    "handler": Script(
        title="What tracking costs a web request",
        path=_HERE / "handler.py",
        needs=("alhena_async.integrations", "fastapi", "uvicorn"),
    ),
}
