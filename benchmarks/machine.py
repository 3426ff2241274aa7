"""What a figure was measured on, and which core does what."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["CLIENT_CORE", "SINK_CORE", "describe", "peak_bytes", "pin", "resident_bytes"]

CLIENT_CORE = 0
SINK_CORE = 1

_LIBRARIES = (
    "aiohttp", "attrs", "cattrs", "backoff", "multidict", "orjson", "uvloop", "yarl", "httpx",
    "confluent-kafka", "statsig-python-core", "mixpanel", "posthog", "segment-analytics-python",
    "snowplow-tracker", "matplotlib",
)  # fmt: skip


def pin(core: int) -> None:
    """Keep this process, and what it starts, on one core; where there is only one, on that."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(_cores())
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def _cores() -> set[int]:
    count = os.cpu_count() or 1
    return set(range(count))


def describe() -> dict[str, Any]:
    """Return the machine, its system, and the versions of all that takes part."""
    return {
        "cores": len(_cores()),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "libraries": dict(filter(None, map(_version, _LIBRARIES))),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(library: str) -> tuple[str, str] | None:
    try:
        return library, importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def resident_bytes() -> int:
    """Return what of this process is in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Return the most of this process that was ever in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM: not Linux")
