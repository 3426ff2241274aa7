"""`python -m examples.shop`: the shop and Alhena's API, emulated, side by side until Ctrl-C.

The shop is a process of its own, and is started again when it is killed: its page has a box to
tick for that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from alhena_async import OutboxError
from alhena_async.emulator import Emulator
from examples.shop.orders import Orders

LOOPBACK: Final = "127.0.0.1"
AWAY: Final = 1.0  # seconds that a killed shop stays away: long enough to be seen
GRACE: Final = 8.0  # seconds to end in: longer than the shop needs to deliver what is left


async def serve(database: Path, shop_port: int, emulator_port: int) -> int:
    """Serve both. The shop ends first, so that its last events still reach the emulator.

    Returns:
        The shop's exit status, if it ended by itself; else 0.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Emulator(port=emulator_port) as emulator:
        os.environ["ALHENA_BASE_URL"] = emulator.url
        listening = socket.create_server((LOOPBACK, shop_port))
        port = listening.getsockname()[1]
        print(f"The shop:                  http://{LOOPBACK}:{port}/")
        print(f"What Alhena would record:  {emulator.url}")
        print(f"The shop's orders:         {database}")
        print("Ctrl-C ends both.", flush=True)
        while (status := await run_shop(listening, stop)) < 0 and not stop.is_set():
            print("The shop was killed. It is started again.", flush=True)
            await asyncio.sleep(AWAY)
            listening = socket.create_server((LOOPBACK, port))
    return max(status, 0)


async def run_shop(listening: socket.socket, stop: asyncio.Event) -> int:
    """Run the shop until it ends, or ask it to end; return its exit status."""
    with listening:  # the shop alone holds it from here on: when it is dead, nobody answers
        shop = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "examples.shop.app:app"),
            *("--fd", str(listening.fileno()), "--log-level", "warning"),
            pass_fds=[listening.fileno()],
            preexec_fn=_leave_ctrl_c,
        )
    ended = asyncio.create_task(shop.wait(), name="shop-ended")
    stopped = asyncio.create_task(stop.wait(), name="shop-stopped")
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    with suppress(ProcessLookupError):
        shop.terminate()
        await asyncio.wait({ended}, timeout=GRACE)
        shop.kill()
    return await ended


def _leave_ctrl_c() -> None:
    """Let Ctrl-C be for who started the shop alone, until the shop has handlers of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    """Read where things are, and serve."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the shop's; 0 takes a free one")
    parser.add_argument("--emulator-port", type=int, default=8787, help="0 takes a free one")
    parser.add_argument("--database", type=Path, metavar="FILE", help="default: a temporary one")
    given = parser.parse_args()
    os.environ.setdefault("ALHENA_COMPANY_KEY", "kiln-and-leaf")
    with TemporaryDirectory(prefix="kiln-and-leaf-") as folder:
        database = (given.database or Path(folder, "shop.db")).absolute()
        os.environ |= {"SHOP_DATABASE": str(database), "SHOP_MAY_BE_UNPLUGGED": "1"}
        try:
            Orders.from_env().create()
            status = asyncio.run(serve(database, given.port, given.emulator_port))
        except KeyboardInterrupt:
            status = 0
        except (OutboxError, sqlite3.Error) as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(f"{error.strerror}: choose other ports with --port and --emulator-port")
    sys.exit(status)


if __name__ == "__main__":
    main()
