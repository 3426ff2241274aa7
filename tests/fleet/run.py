"""Kill and stop a fleet under load: `python -m tests.fleet.run --kills 60 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.fleet.life import Broken, Settings, live

__all__ = ["main"]


def main() -> int:
    """Run the command; return its exit status: 1 if a promise was broken."""
    defaults = Settings()
    parser = argparse.ArgumentParser(description="Kill and stop a fleet under load.")
    parser.add_argument("--kills", type=int, default=60, help="kills, stops and ends (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--visitors", type=int, default=defaults.visitors)
    parser.add_argument("--rate", type=float, default=defaults.rate, help="events a second")
    parser.add_argument("--partitions", type=int, default=defaults.partitions)
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=1, help="NATS servers")
    parser.add_argument("--sync", choices=["default", "always"], default="default")
    parser.add_argument(
        "--kinds",
        default=",".join(defaults.kinds),
        help="what befalls it: kill, stop, term, broker; twice is twice as often",
    )
    given = vars(parser.parse_args())
    faults = given.pop("kills")
    settings = Settings(**given | {"kinds": tuple(given["kinds"].split(","))})
    try:
        with tempfile.TemporaryDirectory() as base:
            figures = asyncio.run(live(Path(base) / "fleet", settings, faults=faults))
    except Broken as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{figures}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
