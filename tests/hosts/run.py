"""`make hosts`: every host, stopped again and again; docs/hosts.md says what came of it."""

from __future__ import annotations

import argparse
import asyncio
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.hosts.stops import Stop, StopKind, stop
from tests.hosts.table import HOSTS, Host

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
_TABLE = re.compile(r"(<!-- make hosts -->\n).*?(<!-- end -->)", re.DOTALL)
_COUNTS = "stops | accepted | recorded"
_HEAD = (f"| host | version | SIGTERM: {_COUNTS} | SIGKILL: {_COUNTS} |", f"|{'---|' * 8}")


async def _stops(host: Host, number: int) -> dict[StopKind, list[Stop]]:
    kinds = list(StopKind)
    results: dict[StopKind, list[Stop]] = {kind: [] for kind in kinds}
    for one in range(number):
        kind = kinds[one % len(kinds)]
        results[kind].append(await stop(host, kind))
    return results


def _cells(stops: Sequence[Stop]) -> list[str]:
    """Return how many stops, what was accepted, what of that was recorded, once and in order."""
    accepted = sum(one.accepted for one in stops)
    wrong = sum(len({*one.lost, *one.misplaced, *one.doubled}) for one in stops)
    return [f"{len(stops)}", f"{accepted:,}", f"{accepted - wrong:,}"]


def _row(name: str, host: Host, results: dict[StopKind, list[Stop]]) -> str:
    told = [one for kind in StopKind if not kind.kills for one in results[kind]]
    killed = [one for kind in StopKind if kind.kills for one in results[kind]]
    return f"| {' | '.join([name, host.version, *_cells(told), *_cells(killed)])} |"


def write(rows: Mapping[str, str]) -> None:
    """Put rows into the page; those of other hosts stay as they are."""
    page = PAGE.read_text()
    [former] = _TABLE.finditer(page)
    known = {row.split(" | ")[0].removeprefix("| "): row for row in former[0].splitlines()}
    known |= rows
    where = f"Python {platform.python_version()}, {platform.system()}."
    table = [where, "", *_HEAD, *(known[name] for name in HOSTS if name in known), ""]
    PAGE.write_text(page.replace(former[0], former[1] + "\n".join(table) + former[2]))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=20, help="of each host, default 20")
    parser.add_argument("--only", default="", help="hosts whose name holds this")
    options = parser.parse_args()
    wrong = 0
    for name, host in HOSTS.items():
        if options.only not in name:
            continue
        if host.missing:
            row = f"| {name} | {host.missing} | | | | | | |"
        else:
            results = asyncio.run(_stops(host, options.stops))
            row = _row(name, host, results)
            wrong += _complain(name, results)
        print(row, flush=True)
        write({name: row})
    return 1 if wrong else 0


def _complain(name: str, results: Mapping[StopKind, Sequence[Stop]]) -> int:
    """Print each stop that lost something, and return how many there are."""
    found = [
        f"{name}, {kind.value}: {one}"
        for kind, stops in results.items()
        for one in stops
        if not one.is_right
    ]
    for line in found:
        print(line)
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
