"""Runs the installed command `alhena` as its own process, the way a user does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.patience import PATIENCE

ALHENA = Path(sys.executable).with_name("alhena")
SHOP_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COSMETICS = SHOP_DATA / "cosmetics_cart.jsonl.gz"
ONLINE_RETAIL = SHOP_DATA / "online_retail_checkouts.jsonl.gz"

needs_shop_data = pytest.mark.skipif(
    not (COSMETICS.is_file() and ONLINE_RETAIL.is_file()),
    reason="the real shop data is not beside the project (../shared/data)",
)


class Ended(NamedTuple):
    """A process that has ended."""

    status: int
    out: str
    err: str


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALHENA_")}
    return {**kept, "FORCE_COLOR": "1", "TERM": "xterm-256color", **variables}


@contextlib.asynccontextmanager
async def started(
    *arguments: str | Path,
    cwd: Path,
    stdin: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start `alhena`; at the end it is killed if it still runs."""
    process = await asyncio.create_subprocess_exec(
        str(ALHENA),
        *map(str, arguments),
        cwd=cwd,
        env=_environment(variables or {}),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process, stdin: bytes | None = None) -> Ended:
    """Wait for a started process."""
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def alhena(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes | None = None,
    variables: Mapping[str, str] | None = None,
) -> Ended:
    """Run `alhena` to its end."""
    pipe = None if stdin is None else asyncio.subprocess.PIPE
    async with started(*arguments, cwd=cwd, stdin=pipe, variables=variables) as process:
        return await ended(process, stdin)


def cart(number: int, **changed: Any) -> dict[str, Any]:
    """Return a sound cart event of its own visitor and product."""
    return {
        "ts": "2024-03-14T09:00:00Z",
        "visitor": f"v{number}",
        "kind": "cart",
        "type": "ITEM_ADDED",
        "product_id": f"p{number}",
        "product_name": f"Mug {number}",
        "value": 9.5,
        "currency": "EUR",
        "quantity": 1,
        **changed,
    }


def checkout(number: int, **changed: Any) -> dict[str, Any]:
    """Return a sound order of its own visitor."""
    line = {
        "product_id": f"p{number}",
        "product_name": f"Mug {number}",
        "quantity": 1,
        "value": 9.5,
        "currency": "EUR",
    }
    return {
        "ts": "2024-03-14T09:00:00Z",
        "visitor": f"v{number}",
        "kind": "checkout",
        "order_id": f"A{number}",
        "value": 9.5,
        "currency": "EUR",
        "line_items": [line],
        **changed,
    }


def lines_of(*events: dict[str, Any]) -> bytes:
    """Return events as a file's content."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def rows(path: Path) -> list[dict[str, Any]]:
    """Return a file of JSON lines."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def names_in(folder: Path) -> list[str]:
    """Return what a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, content: bytes) -> None:
    """Put a content into a file, whatever it held before."""
    path.write_bytes(content)
