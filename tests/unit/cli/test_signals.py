"""Signals reach a command where it waits, however they come, and each of them."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator

import pytest

from alhena_async.cli._signals import TERMINATED, run, until_stopped


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """See that a run leaves SIGTERM as it was; SIGINT is Python's own then, as at a start."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Command:
    """Waits to be cancelled, and drains until it is cancelled again; notes what it hears."""

    def __init__(self, *, during: tuple[int, ...] = (), draining: tuple[int, ...] = ()) -> None:
        self.during = during
        self.draining = draining
        self.heard: list[str] = []

    async def main(self) -> None:
        try:
            _raise(self.during)
            self.heard.append("went on")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.heard.append("cancelled")
            _raise(self.draining)
            self.heard.append("drains")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.heard.append("cancelled again")
            raise


def _raise(signals: tuple[int, ...]) -> None:
    for number in signals:
        signal.raise_signal(number)


_ALL = ["went on", "cancelled", "drains", "cancelled again"]


@pytest.mark.parametrize(
    ("during", "draining"),
    [((2,), (2,)), ((2, 2), ()), ((2,), (15,)), ((2, 15), ())],
    ids=["one by one", "at once", "another one", "another one at once"],
)
def test_two_signals_are_two_cancellations(
    during: tuple[int, ...], draining: tuple[int, ...]
) -> None:
    """Neither breaks into what runs, and none is lost."""
    command = _Command(during=during, draining=draining)
    with pytest.raises(KeyboardInterrupt):
        run(command.main())
    assert command.heard == _ALL


def test_sigterm_has_its_own_status() -> None:
    """The first one decides."""
    command = _Command(during=(signal.SIGTERM,), draining=(signal.SIGINT,))
    with pytest.raises(SystemExit) as ended:
        run(command.main())
    assert ended.value.code == TERMINATED
    assert command.heard == _ALL


def test_one_that_comes_while_rubbish_is_collected_is_heard() -> None:
    """An exception there would be printed and forgotten."""

    class Rubbish:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        for _ in range(2):
            Rubbish()
            gc.collect()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append("cancelled")
        raise asyncio.CancelledError

    heard: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert heard == ["cancelled", "cancelled"]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_third_one_ends_what_blocks_the_loop(first: int) -> None:
    """Nothing else could: it never waits."""

    async def main() -> None:
        _raise((first, signal.SIGINT))
        heard.append("goes on")
        _raise((signal.SIGINT,))
        heard.append("went on")

    heard: list[str] = []
    with pytest.raises(KeyboardInterrupt if first == signal.SIGINT else SystemExit):
        run(main())
    assert heard == ["goes on"]


def test_an_end_that_is_meant_is_none_by_a_signal() -> None:
    """What waits for nothing but its end returns."""

    async def main() -> str:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await until_stopped()
        await asyncio.sleep(0)
        return "told"

    assert run(main()) == "told"
