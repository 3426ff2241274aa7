"""The emulator in a thread of its own, for tests of any kind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

from alhena_async.emulator import Emulator, Fault, FaultPlan, Recordings
from alhena_async.emulator._assertions import T
from alhena_async.emulator._ledger import Store

__all__ = ["EmulatorThread"]

R = TypeVar("R")
_PATIENCE = 10.0  # seconds for what takes milliseconds, on however busy a machine


class EmulatorThread(Recordings):
    """A real server of the documented API, on a free port of this machine, in its own thread.

    So it serves whatever runs the test: a coroutine under any plugin, a plain function with a
    framework's test client, another process. Every call here runs on the server's loop and blocks
    for the microseconds that takes; what a client was answered is recorded before.

        with EmulatorThread() as emulator:
            ...  # a client with base_url=emulator.url
            emulator.assert_recorded(order_id="ORD-1", value=19.9)

    Args:
        **settings: As for `Emulator`: `companies`, `tickets`, `preconditions`, `error_statuses`...
    """

    def __init__(self, **settings: Any) -> None:
        self._emulator = Emulator(**settings)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    def __repr__(self) -> str:
        return f"<EmulatorThread {self.url if self._thread else 'idle'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve; after a `stop` on the same port, with everything recorded.

        Raises:
            RuntimeError: It serves already.
            OSError: The port is taken.
        """
        if self._thread is not None:
            raise RuntimeError("the emulator serves already")
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        thread = threading.Thread(
            target=self._live, args=(started,), name="alhena-emulator", daemon=True
        )
        thread.start()
        try:
            started.result(_PATIENCE)
        except BaseException:
            thread.join(_PATIENCE)  # it has failed, and is about to end
            raise
        self._thread = thread

    def stop(self) -> None:
        """Stop serving: an outage, for the client. Idempotent.

        Raises:
            RuntimeError: The server's thread does not end.
        """
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise RuntimeError("the emulator's thread does not end")
        self._thread = self._loop = None

    @property
    def url(self) -> str:
        """Base URL of the API, and address of the live page; ends in a slash."""
        return self._emulator.url

    def fault(self, *texts: str, seed: int | None = None) -> None:
        """Let a share of the requests fail from now on; replaces what was said before.

        Args:
            *texts: For example `"error=1"` (every request gets a 500), `"throttle=0.1:2s"`,
                `"hang=5%"`; none ends all faults. `FaultPlan.parse` lists the kinds.
            seed: Of the random numbers; the same seed draws the same sequence.

        Raises:
            ValueError: Names the text and what is wrong with it.
        """
        plan = FaultPlan.parse(texts, seed)
        self.call(lambda emulator: emulator.plan(plan))

    def script(self, *faults: Fault) -> None:
        """Let the next requests meet these faults, in order, before those of `fault`."""
        self.call(lambda emulator: emulator.script(*faults))

    def recover(self) -> None:
        """End all faults, scripted ones included."""
        self.call(Emulator.recover)

    def reset(self) -> None:
        """Forget all that was recorded, and all faults; tickets stay."""
        self.call(Emulator.reset)

    async def wait_until(
        self, condition: Callable[[Emulator], bool], *, timeout: float = 5.0
    ) -> None:
        """Wait, in a coroutine, until a condition holds; it is looked at on each change.

        Args:
            condition: Called with the emulator: `lambda emulator: emulator.requests > 2`.
            timeout: Seconds.

        Raises:
            TimeoutError: It did not hold in time; tells what had come.
            RuntimeError: It does not serve.
        """
        loop, emulator = self._loop, self._emulator
        if loop is None:
            raise RuntimeError("the emulator does not serve, so nothing will change")
        waits = emulator.wait_until(lambda: condition(emulator), timeout=timeout)
        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waits, loop))
        except TimeoutError:
            raise TimeoutError(
                f"it did not hold within {timeout:g} s; requests: {self.requests}, "
                f"recorded: {self.recorded_count}, refused: {self.refused_count}"
            ) from None

    def call(self, function: Callable[[Emulator], R]) -> R:
        """Call a function with the emulator, on its thread: for what is not offered here.

        Args:
            function: Must not block or await; `lambda emulator: emulator.max_in_flight`.
        """
        if self._loop is None:  # nothing serves, so nothing can change meanwhile
            return function(self._emulator)
        if threading.current_thread() is self._thread:  # a condition of `wait_until` asks
            return function(self._emulator)
        done: concurrent.futures.Future[R] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(_run, function, self._emulator, done)
        return done.result(_PATIENCE)

    def _look(self, use: Callable[[Store], T]) -> T:
        return self.call(lambda emulator: emulator._look(use))  # noqa: SLF001  of one family

    def _live(self, started: concurrent.futures.Future[None]) -> None:
        # Not `asyncio.run`: the test's event loop policy may be anything, virtual time included.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            try:
                runner.run(self._serve(started))
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

    async def _serve(self, started: concurrent.futures.Future[None]) -> None:
        self._stop = asyncio.Event()
        async with self._emulator:
            self._loop = asyncio.get_running_loop()
            started.set_result(None)
            await self._stop.wait()


def _run(
    function: Callable[[Emulator], R], emulator: Emulator, done: concurrent.futures.Future[R]
) -> None:
    try:
        done.set_result(function(emulator))
    except BaseException as error:  # noqa: BLE001  the calling thread gets it
        done.set_exception(error)
