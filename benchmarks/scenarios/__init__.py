"""All scenarios, by the name that `make bench ONLY=` takes, in the order they run."""

from __future__ import annotations

from benchmarks.scenario import Scenario
from benchmarks.scenarios import (
    coalescing,
    delivery,
    enqueue,
    faults,
    greedy,
    imports,
    journal,
    latency,
    memory,
    scale,
    stages,
    stall,
    wire,
)

__all__ = ["SCENARIOS"]

SCENARIOS: dict[str, Scenario] = {
    "enqueue": enqueue.SCENARIO,
    "memory": memory.SCENARIO,
    "delivery": delivery.SCENARIO,
    "scale": scale.SCENARIO,
    "stall": stall.SCENARIO,
    "wire": wire.SCENARIO,
    "journal": journal.SCENARIO,
    "latency": latency.SCENARIO,
    "faults": faults.SCENARIO,
    "greedy": greedy.SCENARIO,
    "coalescing": coalescing.SCENARIO,
    "imports": imports.SCENARIO,
    "stages": stages.SCENARIO,
}
