"""`alhena emulate`: the emulator until Ctrl-C."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack

from rich.console import RenderableType

from alhena_async.cli._console import Screen
from alhena_async.cli._format import count
from alhena_async.cli._options import CommandError
from alhena_async.cli._signals import until_stopped
from alhena_async.cli._summary import counted, facts, spaced, sums
from alhena_async.emulator import Emulator


async def emulate(emulator: Emulator, screen: Screen, *, where: str) -> None:
    """Serve until a signal comes, then say what was served.

    Args:
        emulator: Started and stopped here.
        screen: Where it is told.
        where: The address, for people.

    Raises:
        CommandError: The address is taken, or none of this machine's.
    """
    async with AsyncExitStack() as stack:
        await serving(emulator, stack, where=where)
        screen.say(f"Emulating Alhena's API at {emulator.url}", "bold")
        screen.say(f"Open {emulator.url} to watch; send events with:")
        screen.write(f"  alhena replay FILE --base-url {emulator.url} --company-key any")
        screen.say("Ctrl-C ends it, and what it recorded is gone then.")
        await until_stopped()
    screen.show(*spaced([_served(emulator), *_details(emulator)]))


async def serving(emulator: Emulator, stack: AsyncExitStack, *, where: str) -> None:
    """Start an emulator that the stack stops.

    Raises:
        CommandError: The address is taken, or none of this machine's.
    """
    try:
        await stack.enter_async_context(emulator)
    except OSError as error:
        raise CommandError(f"cannot serve on {where}: {error.strerror}") from None


def _served(emulator: Emulator) -> RenderableType:
    return facts(
        [
            ("Requests", count(emulator.requests), ""),
            ("Recorded", count(emulator.recorded_count), ""),
            ("Refused", count(emulator.refused_count), ""),
            ("Faults", count(sum(emulator.faulted.values())), ""),
        ]
    )


def _details(emulator: Emulator) -> list[RenderableType]:
    return [
        *counted("Refused because", "Requests", Counter(emulator.refusals)),
        *sums({"Recorded": emulator.revenue}),
    ]
