"""`alhena emulate`: the emulator until Ctrl-C, with a line for each request."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from rich.console import RenderableType

from alhena_async.cli._console import Screen
from alhena_async.cli._format import clean, count
from alhena_async.cli._options import CommandError
from alhena_async.cli._signals import until_stopped
from alhena_async.cli._summary import counted, facts, spaced, sums
from alhena_async.emulator import Emulator, Handled, Recorded, Refused


def telling(screen: Screen) -> Callable[[Handled], None]:
    """Return what shows each request's line."""

    def tell(became: Handled) -> None:
        screen.tell(request_line(became, time.time()), request_style(became))

    return tell


async def emulate(emulator: Emulator, screen: Screen, *, where: str, exposed: bool) -> None:
    """Serve until a signal comes, then say what was served.

    Args:
        emulator: Started and stopped here.
        screen: Where it is told.
        where: The address, for people.
        exposed: Whether others may reach it, which is said first.

    Raises:
        CommandError: The address is taken, or none of this machine's.
    """
    async with AsyncExitStack() as stack:
        await serving(emulator, stack, where=where)
        if exposed:
            screen.say(
                f"EXPOSED on {where}: whoever reaches it and has the token reads and", "bold red"
            )
            screen.say(
                "changes everything here. Over plain HTTP: for private networks alone.", "red"
            )
            screen.say("A client's base URL has the token in it, with your host's name, as here:")
        screen.say(f"Emulating Alhena's API at {emulator.url}", "bold")
        screen.say(f"Open {emulator.url} to watch; send events with:")
        screen.write(f"  alhena replay FILE --base-url {emulator.url} --company-key any")
        screen.say(f"Tests in any language steer it, with X-Emulator-Token: {emulator.token}")
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


def request_line(became: Handled, at: float) -> str:
    """Return what became of a request in one line: what matters first, a terminal may cut it.

    Args:
        became: What.
        at: When, in seconds since the epoch.
    """
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    endpoint = became.kind.path.rpartition("/")[2]
    status = "---" if became.status is None else str(became.status)
    words = [f"{clock} POST {endpoint:<15} {status}"]
    if isinstance(became.record, Refused):
        words.append(clean(became.record.code))
    if became.fault is not None:
        words.append(f"fault {became.fault}")
    words.append(f"{1_000 * became.latency:.0f} ms")
    if became.fingerprint is not None:
        words.append(f"visitor {clean(became.fingerprint[:_FINGERPRINT_BEGINS])}")
    for name, text in (("order", became.order_id), ("product", became.product_id)):
        if text is not None:
            words.append(f"{name} {clean(text, limit=40)}")
    return "  ".join(words)


_FINGERPRINT_BEGINS: Final = 8
"""Characters: enough to tell visitors apart and to find one on the page, which shows as many."""


def request_style(became: Handled) -> str:
    """Return the colour of a request's line."""
    if became.fault is not None:
        return "yellow"
    return "" if isinstance(became.record, Recorded) else "red"


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
