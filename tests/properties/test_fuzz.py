"""What reads foreign bytes takes any; `make fuzz` feeds each reader a million inputs."""

import random
from pathlib import Path

import pytest

from alhena_async.journal._sqlite_pages import carve
from tests.fuzz.targets import TARGETS, mutated

INPUTS = 2_000


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_is_too_much(name: str) -> None:
    """Seeds as they are, nothing at all, and what is broken in them."""
    target = TARGETS[name]
    seeds = target.seeds()
    for data in (b"", *seeds):
        target.read(data)
    made = mutated(seeds, random.Random(f"{name} 1"))
    for _, data in zip(range(INPUTS // target.slowness), made, strict=False):
        target.read(data)


def test_the_seeds_of_pages_and_logs_hold_rows(tmp_path: Path) -> None:
    """Else nothing behind the first look would be reached."""
    for name, seeds in (("seed", TARGETS["pages"].seeds()), ("seed-wal", TARGETS["log"].seeds())):
        (tmp_path / name).write_bytes(seeds[0])
    found = {row_id for row_id, values in carve(tmp_path / "seed") if len(values) == 5}
    assert found == set(range(6))
