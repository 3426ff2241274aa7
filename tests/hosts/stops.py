"""One stop of a host under load, and what became of all that it had accepted."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import signal
import tempfile
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import attrs

from alhena_async import AlhenaClient, Visitor
from alhena_async.emulator import Emulator
from tests.hosts.senders import Sender, Tracked
from tests.hosts.table import Host
from tests.patience import PATIENCE
from tests.web.serving import Server, served

__all__ = ["Stop", "StopKind", "stop"]

_CUSTOMERS = 6
_ACCEPTED_BEFORE = 40
"""Events that the host has accepted when it is stopped."""
_SENT_AFTER = 5
"""Events that a customer still sends after that: what is left has to fit into a drain's time."""
_PAUSE = 0.05  # seconds after an event that a host did not accept


class StopKind(enum.Enum):
    """How a host is stopped, and what of its events is still to be delivered then."""

    TERM_WAITING = "SIGTERM, all waiting"
    TERM_SENDING = "SIGTERM, sending"
    KILL_WAITING = "SIGKILL, all in the journal"
    KILL_SENDING = "SIGKILL, sending"

    @property
    def kills(self) -> bool:
        """Whether the processes end without having heard of it."""
        return self in {StopKind.KILL_WAITING, StopKind.KILL_SENDING}

    @property
    def lingers(self) -> bool:
        """Whether nothing is sent before the stop."""
        return self in {StopKind.TERM_WAITING, StopKind.KILL_WAITING}


class Customer:
    """Changes a cart again and again, each time once the host has accepted the change before.

    Args:
        number: Its products are named by it.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.visitor = Visitor(fingerprint=str(uuid.uuid4()), faq_fingerprint=str(uuid.uuid4()))
        self.tracked: list[Tracked] = []
        """What the host said it had accepted, in order."""
        self.unanswered: set[str] = set()
        """Those of which nobody knows."""

    async def shop(self, server: Server, sender: Sender, load: Load) -> None:
        """Go on until the host has ended, or a little longer than it was told to end."""
        left = _SENT_AFTER
        for number in itertools.count():
            if not server.is_running or left == 0:
                return
            left -= load.is_over
            sku = f"p{self._number}-{number}"
            tracked = await sender.send(self.visitor, sku)
            if tracked is None:
                self.unanswered.add(sku)
                await asyncio.sleep(_PAUSE)
                continue
            self.tracked.append(tracked)
            load.accepted.release()


class Load:
    """What customers and whoever stops the host know of each other."""

    def __init__(self) -> None:
        self.accepted = asyncio.Semaphore(0)
        """One for each event that the host has accepted."""
        self.is_over = False
        """The host was told to stop."""

    async def reached(self, number: int) -> None:
        """Wait until the host has accepted so many events."""
        for _ in range(number):
            await self.accepted.acquire()


@attrs.frozen(kw_only=True)
class Stop:
    """What became of the events of one run."""

    accepted: int
    recorded: int
    """Different ones, those among them of which the host had not said that it accepted them."""
    lost: tuple[str, ...]
    """Accepted, and not recorded."""
    misplaced: tuple[str, ...]
    """Recorded before what the same visitor's same process had accepted earlier."""
    doubled: tuple[str, ...]
    """Recorded more than once, where no kill left it open whether they were recorded."""
    strange: tuple[str, ...]
    """Recorded, and never sent."""

    @property
    def is_right(self) -> bool:
        """Whether all that was accepted is recorded, as it was accepted."""
        return not (self.lost or self.misplaced or self.doubled or self.strange)


async def stop(host: Host, kind: StopKind) -> Stop:
    """Run a host, stop it in the middle of its work, and look at what was recorded.

    Raises:
        AssertionError: It ended early, or would not end.
    """
    customers = [Customer(number) for number in range(_CUSTOMERS)]
    sends_before = host.delivers_at_once or not kind.lingers
    async with contextlib.AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="host")))
        emulator = await stack.enter_async_context(Emulator())
        broker = await stack.enter_async_context(host.broker(home))
        journal = str(home / "journal")
        settings = {
            "ALHENA_BASE_URL": emulator.url,
            "ALHENA_LINGER": "600" if kind.lingers else "0",
            "ALHENA_TRACK_TIMEOUT": str(PATIENCE),
            host.variable: broker,
        }
        if kind.kills:
            settings["ALHENA_JOURNAL"] = journal
        command = [part.format(home=home) for part in host.command]
        pipe = asyncio.subprocess.PIPE
        server = await stack.enter_async_context(served(*command, settings=settings, stdin=pipe))
        async with asyncio.timeout(PATIENCE), host.connect(server, home, broker) as sender:
            await sender.ready()
            await _stopped_under_load(server, sender, customers, kind)
        if kind.kills:
            async with AlhenaClient("shop", base_url=emulator.url, journal=journal) as heir:
                await heir.flush(PATIENCE)
        found = {
            one.visitor.fingerprint: [
                str(event.product_id)
                for event in emulator.recorded(fingerprint=one.visitor.fingerprint)
            ]
            for one in customers
        }
        return _judge(customers, found, may_double=kind.kills and sends_before)


async def _stopped_under_load(
    server: Server, sender: Sender, customers: Iterable[Customer], kind: StopKind
) -> None:
    load = Load()
    async with asyncio.TaskGroup() as group:
        for one in customers:
            group.create_task(one.shop(server, sender, load), name=one.visitor.fingerprint)
        ending = group.create_task(server.ended(), name="end of the host")
        enough = group.create_task(load.reached(_ACCEPTED_BEFORE), name="enough")
        await asyncio.wait({ending, enough}, return_when=asyncio.FIRST_COMPLETED)
        assert not ending.done(), server.log
        load.is_over = True
        if kind.kills:
            server.kill()
        else:
            server.send(signal.SIGTERM)
            with contextlib.suppress(ProcessLookupError):
                server.send(signal.SIGCONT)  # a frozen process hears of it then


def _judge(customers: Iterable[Customer], found: dict[str, list[str]], *, may_double: bool) -> Stop:
    """Hold what was recorded of each visitor against what the host had accepted."""
    accepted = recorded = 0
    lost: list[str] = []
    misplaced: list[str] = []
    doubled: list[str] = []
    strange: list[str] = []
    for one in customers:
        products = found[one.visitor.fingerprint]
        times = Counter(products)
        place = {sku: products.index(sku) for sku in times}
        accepted += len(one.tracked)
        recorded += len(times)
        lost += [sku for sku, _ in one.tracked if sku not in place]
        if not may_double:
            doubled += [sku for sku, count in times.items() if count > 1]
        strange += set(times) - {sku for sku, _ in one.tracked} - one.unanswered
        by_worker: defaultdict[str, list[str]] = defaultdict(list)
        for sku, worker in one.tracked:
            by_worker[worker].append(sku)
        for skus in by_worker.values():
            places = [place.get(sku, -1) for sku in skus]
            misplaced += [skus[i] for i in range(1, len(skus)) if -1 < places[i] < places[i - 1]]
    return Stop(
        accepted=accepted, recorded=recorded, lost=tuple(lost), misplaced=tuple(misplaced),
        doubled=tuple(doubled), strange=tuple(strange),
    )  # fmt: skip
