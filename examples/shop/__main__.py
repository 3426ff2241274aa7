"""`python -m examples.shop`: the shop and Alhena's API, emulated, side by side until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from tempfile import TemporaryDirectory

import uvicorn

from alhena_async.emulator import Emulator

LOOPBACK = "127.0.0.1"


async def serve(shop_port: int, emulator_port: int, database: str) -> None:
    """Serve both. The shop ends first, so that its last events still reach the emulator."""
    async with Emulator(port=emulator_port) as emulator:
        os.environ["ALHENA_BASE_URL"] = emulator.url
        os.environ.setdefault("ALHENA_COMPANY_KEY", "kiln-and-leaf")
        os.environ.setdefault("SHOP_DATABASE", database)
        with socket.create_server((LOOPBACK, shop_port)) as listening:
            port = listening.getsockname()[1]
            print(f"The shop:                  http://{LOOPBACK}:{port}/")
            print(f"What Alhena would record:  {emulator.url}")
            print("Ctrl-C ends both.", flush=True)
            config = uvicorn.Config("examples.shop.app:app", log_level="warning")
            await uvicorn.Server(config).serve(sockets=[listening])


def main() -> None:
    """Read the ports and serve."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the shop's; 0 takes a free one")
    parser.add_argument("--emulator-port", type=int, default=8787, help="0 takes a free one")
    given = parser.parse_args()
    try:
        with TemporaryDirectory(prefix="kiln-and-leaf-") as folder:
            asyncio.run(serve(given.port, given.emulator_port, f"{folder}/shop.db"))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(f"{error.strerror}: choose other ports with --port and --emulator-port")


if __name__ == "__main__":
    main()
