"""One life: publishers and relays as processes, one broker, one API, and what befalls them."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import attrs
import orjson

from alhena_async import CartEvent, CheckoutEvent, LineItem, OutcomeStatus, Visitor
from alhena_async.events import Event
from alhena_async.outcomes import Outcome
from alhena_async.relay import Publisher, Relay, RelayStats
from tests.simulation.chance import no_chance
from tests.simulation.loop import Deadlock, Livelock
from tests.simulation.relay.api import Api, ApiTransport, name_of
from tests.simulation.relay.oracle import History, judge
from tests.simulation.relay.processes import Killed, Process, ProcessLoop, new_loop
from tests.simulation.relay.scenario import Fault, Scenario, draw
from tests.simulation.relay.server import ForgetfulBroker, RemoteBroker, Server

__all__ = ["Broken", "Figures", "run_seed"]

_MAX_ATTEMPTS: Final = 8

_GRACE: Final = 10.0
"""Seconds beyond its drain in which a relay has ended."""

_GENTLE: Final = {
    "stop", "stop-resting", "cancel", "api-away", "lose-publish", "kill-publisher",
    "freeze-publisher",
}  # fmt: skip
"""Faults after which every relay ends as it should, and leaves nothing behind."""


class Broken(AssertionError):  # noqa: N818  a finding
    """A seed found something; the message says what, and how to see it again."""


@attrs.define
class Figures:
    """What one or many seeds amounted to."""

    seeds: int = 0
    events: int = 0
    requests: int = 0
    faults: int = 0
    redelivered: int = 0
    repeats: int = 0
    letters: int = 0
    fenced: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = attrs.field(default=0.0, eq=False)

    def add(self, other: Figures) -> None:
        """Add another's counts."""
        for name in attrs.fields_dict(Figures):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def run_seed(seed: int, *, events: int = 30, faults: float = 0.08) -> Figures:
    """Live through a seed, and return its figures.

    Raises:
        Broken: A promise was broken; the message reproduces it.
    """
    rng = random.Random(seed)
    scenario = draw(rng, events, faults)
    loop = new_loop(rng.getrandbits(32))
    life = _Life(scenario, rng)
    try:
        with no_chance(loop, rng.getrandbits(32)):
            loop.run_until_complete(life.main())
    except (_Sin, Deadlock, Livelock, AssertionError) as error:
        again = f"make simulate-relay SEEDS={seed} EVENTS={events} FAULTS={faults:g}"
        raise Broken(f"seed {seed}: {error}\n{scenario}\n{again}") from error
    loop.close()
    return life.figures(loop.time())


class _Sin(Exception):  # noqa: N818
    """A promise was broken."""


@attrs.define(eq=False)
class _Shop:
    """A web process of the shop."""

    process: Process
    broker: RemoteBroker
    client: Publisher


@attrs.define(eq=False)
class _Worker:
    """A relay in a process of its own."""

    process: Process
    broker: RemoteBroker
    transport: ApiTransport
    relay: Relay
    task: asyncio.Task[None]
    is_troubled: bool = False
    """A fault has it, or it is gone."""


class _Life:
    def __init__(self, scenario: Scenario, rng: random.Random) -> None:
        self._scenario = scenario
        self._rng = rng
        self._shops: list[_Shop] = []
        self._workers: list[_Worker] = []
        """All, the dead too."""
        self._dead_shops: list[_Shop] = []
        self._numbers = itertools.count(1)
        self._promised: dict[str, list[str]] = {}
        self._accepted_at: dict[str, float] = {}
        self._orders: dict[str, str | None] = {}
        """Order ids of the events that are orders."""
        self._faults = 0
        self._repeats = 0
        self._server: Server
        self._api: Api

    async def main(self) -> None:
        """Live it.

        Raises:
            _Sin: A promise was broken.
        """
        scenario, rng = self._scenario, self._rng
        broker = ForgetfulBroker(lease=scenario.lease)
        self._server = Server(broker, latency=scenario.broker_latency, rng=rng)
        self._api = Api(latency=scenario.api_latency, faults=scenario.api_faults, rng=rng)
        for _ in range(scenario.publishers):
            await self._open_shop()
        for _ in range(scenario.relays):
            self._hire()
        fates = [self._befall(fault) for fault in scenario.faults]
        visits = [self._visit(f"v{number}") for number in range(scenario.visitors)]
        await asyncio.gather(*visits, *fates)
        self._heal()
        await self._emptied()
        await self._end()
        self._judge()
        await self._unwind()

    # --- visitors ------------------------------------------------------------------------------

    async def _visit(self, visitor: str) -> None:
        """One request after the other, each to any of the shop's processes."""
        rng, scenario = self._rng, self._scenario
        promised = self._promised.setdefault(visitor, [])
        left = scenario.events // scenario.visitors
        while left > 0:
            await asyncio.sleep(rng.expovariate(1.0) * scenario.gap)
            events = [self._event(visitor) for _ in range(min(left, rng.choice((1, 1, 1, 3))))]
            left -= len(events)
            shop = rng.choice(self._shops)
            try:
                outcomes = await shop.process.ask(self._handle(shop.client, events))
            except Killed:
                continue  # nothing was promised
            for event, outcome in zip(events, outcomes, strict=True):
                if outcome.status is OutcomeStatus.PUBLISHED:
                    promised.append(_name(event))

    async def _handle(self, client: Publisher, events: list[Event]) -> list[Outcome]:
        """Serve a request: accept the events, and answer once they have ended."""
        now = asyncio.get_running_loop().time()
        self._accepted_at.update(dict.fromkeys(map(_name, events), now))
        receipts = [client.track_nowait(event) for event in events]
        return [await receipt for receipt in receipts]

    def _event(self, visitor: str) -> Event:
        number = next(self._numbers)
        name = f"{visitor}.{number:06}"
        who = Visitor(fingerprint=visitor, faq_fingerprint=f"faq-{visitor}")
        if self._rng.random() >= self._scenario.orders:
            return CartEvent(
                visitor=who,
                type="ITEM_ADDED",
                product_id=name,
                product_name="Mug",
                value=5,
                currency="EUR",
                quantity=1,
            )
        own = self._rng.random() < 0.5
        self._orders[name] = order_id = f"o{number}" if own else None
        line = LineItem(product_id=name, product_name="Mug", quantity=1, value=5, currency="EUR")
        return CheckoutEvent(
            visitor=who, value=5, currency="EUR", line_items=(line,), order_id=order_id
        )

    # --- processes -----------------------------------------------------------------------------

    async def _open_shop(self) -> None:
        process, broker = Process(f"shop-{len(self._shops)}"), RemoteBroker(self._server)
        client = Publisher("shop", broker=broker, coalescing="off", retry=self._scenario.retry)
        await process.ask(_started(client))
        self._shops.append(_Shop(process, broker, client))

    def _hire(self) -> None:
        process = Process(f"relay-{len(self._workers)}")
        broker, transport = RemoteBroker(self._server), ApiTransport(self._api)
        scenario = self._scenario
        relay = Relay(
            broker=broker,
            transport=transport,
            retry=scenario.retry,
            http=scenario.http,
            room=scenario.room,
            max_in_flight=scenario.max_in_flight,
            max_attempts=_MAX_ATTEMPTS,
        )
        task = process.spawn(relay.run(drain_timeout=scenario.drain))
        self._workers.append(_Worker(process, broker, transport, relay, task))

    # --- what befalls them ---------------------------------------------------------------------

    async def _befall(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        kind = fault.kind.removesuffix("-resting")
        if kind != fault.kind:  # while events rest between two attempts; the API is back at once
            self._api.is_away = True
            await asyncio.sleep(self._scenario.lease * 0.3)
            asyncio.get_running_loop().call_soon(self._api.come_back)
        await _FATES[kind](self, fault)

    def _victim(self) -> Iterator[_Worker]:
        """Yield a worker that nothing else befalls, if there is one, and keep it for the while."""
        free = [worker for worker in self._workers if not worker.is_troubled]
        if free:
            busiest = max(free, key=lambda worker: worker.relay.stats().held)
            worker = self._rng.choice((busiest, busiest, self._rng.choice(free)))
            worker.is_troubled = True
            self._faults += 1
            yield worker

    async def _kill(self, fault: Fault) -> None:
        for worker in self._victim():
            worker.process.kill()
            self._bereave(worker.broker)
            worker.transport.is_cut = True
            await self._replace(fault)

    def _bereave(self, broker: RemoteBroker) -> None:
        """Let the server hear that a process is gone."""
        broker.line.is_dead = True
        self._server.hang_up(broker.line)

    async def _replace(self, fault: Fault) -> None:
        await asyncio.sleep(fault.lasts)
        self._hire()

    async def _stop(self, fault: Fault) -> None:
        for worker in self._victim():
            worker.process.signal(worker.relay.stop)
            await self._ended(worker)
            if worker.task.cancelled() or worker.task.exception():
                raise _Sin(f"{worker.process} did not end in peace: {worker.task!r}")
            await self._replace(fault)

    async def _cancel(self, fault: Fault) -> None:
        for worker in self._victim():
            worker.process.signal(worker.task.cancel)
            if fault.first:
                await asyncio.sleep(fault.lasts / 10)
                worker.process.signal(worker.task.cancel)
            await self._ended(worker)
            if not worker.task.cancelled():
                raise _Sin(f"{worker.process} was cancelled, and did not say so: {worker.task!r}")
            await self._replace(fault)

    async def _ended(self, worker: _Worker) -> None:
        """Wait until a relay has ended, and hold it to what it leaves."""
        await asyncio.wait({worker.task}, timeout=self._scenario.drain + _GRACE)
        if not worker.task.done():
            raise _Sin(f"{worker.process} does not end: {worker.relay.stats()}")
        stats = worker.relay.stats()
        if stats.held or stats.connected:
            raise _Sin(f"{worker.process} has ended, and says {stats}")
        left = sum(len(source.leases) for source in worker.broker.sources)
        if left and all(fault.kind in _GENTLE for fault in self._scenario.faults):
            raise _Sin(f"{worker.process} has ended, and {left} events wait for their lease")

    async def _freeze(self, fault: Fault) -> None:
        for worker in self._victim():
            await _frozen(worker.process, fault.lasts)
            worker.is_troubled = False

    async def _cut(self, fault: Fault) -> None:
        for worker in self._victim():
            line = worker.broker.line
            line.is_cut = True
            await asyncio.sleep(fault.lasts * 1.5)
            self._server.hang_up(line)
            await asyncio.sleep(fault.lasts / 2)
            line.is_cut = worker.is_troubled = False

    async def _take_broker_away(self, fault: Fault) -> None:
        self._faults += self._scenario.relays
        self._server.go_down()
        await asyncio.sleep(fault.lasts)
        self._server.come_back(forgets=fault.kind.startswith("broker-restarted"))

    async def _take_api_away(self, fault: Fault) -> None:
        self._api.is_away = True
        await asyncio.sleep(fault.lasts * 2)
        self._api.come_back()

    async def _lose(self, fault: Fault) -> None:
        verb = fault.kind.removeprefix("lose-")
        self._faults += verb != "publish"
        self._server.lose(verb, fault.what)

    async def _kill_shop(self, fault: Fault) -> None:
        shop = self._shops.pop(self._rng.randrange(len(self._shops)))
        self._dead_shops.append(shop)
        shop.process.kill()
        self._bereave(shop.broker)
        await self._open_shop()

    async def _freeze_shop(self, fault: Fault) -> None:
        await _frozen(self._rng.choice(self._shops).process, fault.lasts)

    # --- the end -------------------------------------------------------------------------------

    def _heal(self) -> None:
        self._server.heal()
        self._api.heal()

    async def _emptied(self) -> None:
        """Wait until everything is delivered, as it must be once nothing fails any more."""
        loop, broker = asyncio.get_running_loop(), self._server.broker
        until = loop.time() + 20 * self._scenario.lease + 120.0
        while broker.waiting:
            if loop.time() > until:
                stats = [worker.relay.stats() for worker in self._workers]
                raise _Sin(f"{broker.waiting} events are never delivered: {stats}")
            await asyncio.sleep(self._scenario.lease / 10)

    async def _end(self) -> None:
        for shop in self._shops:
            report = await shop.process.ask(shop.client.close(10.0))
            if report.undelivered:
                raise _Sin(f"{shop.process} was closed at rest, and left {report.undelivered}")
        for worker in self._living():
            worker.process.signal(worker.relay.stop)
            await self._ended(worker)

    def _living(self) -> list[_Worker]:
        return [worker for worker in self._workers if not worker.is_troubled]

    async def _unwind(self) -> None:
        """Let the dead end, so that nothing of them is left to Python's own end."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessLoop)
        if loop.failures:
            raise _Sin(f"asyncio complains: {loop.failures[:3]}")
        tasks: list[asyncio.Task[Any]] = []
        for worker in self._workers:
            if worker.process.is_dead:
                worker.process.bury()
                worker.task.cancel()
                tasks.append(worker.task)
        for shop in self._dead_shops:
            shop.process.bury()
            tasks.append(shop.process.spawn(shop.client.close(0.0)))
        if tasks:
            await asyncio.wait(tasks)

    # --- the judgement -------------------------------------------------------------------------

    def _judge(self) -> None:
        """Hold the whole life against what was promised.

        Raises:
            _Sin: A promise was broken.
        """
        letters = [json.loads(letter) for letter in self._server.broker.letters]
        verdict = judge(
            History(
                promised=self._promised,
                arrivals=self._api.arrivals,
                letters={name_of(letter["message"]["event"]) for letter in letters},
                not_sent_twice=self._orders,
                faults=self._faults,
                held=self._scenario.visitors,
                excused=self._api.lost_answers,
            )
        )
        self._repeats = verdict.repeats
        sins = verdict.sins
        sins += [sin for letter in letters for sin in self._sins_of_letter(letter)]
        sins += self._sins_of_deadlines()
        sins += self._sins_of_publishing()
        sins += self._sins_of_accounts()
        if sins:
            raise _Sin("\n".join(sins))

    def _sins_of_letter(self, letter: dict[str, Any]) -> Iterator[str]:
        """Yield what a letter says that is not so."""
        message = letter["message"]
        name = name_of(message["event"])
        status = letter["status"]
        is_true = False
        if status == "rejected":
            is_true = name in self._api.refused
        elif status == "unknown":
            is_true = name in self._orders and message["order_id"] is None
        elif status == "expired":
            is_late = letter["ended"] - message["accepted_at"] >= self._timeout_of(name) - 0.01
            is_true = is_late or self._api.failures.get(name, 0) >= _MAX_ATTEMPTS
        if not is_true:
            yield f"a letter says {status} of {name}: {letter['detail']}"

    def _timeout_of(self, name: str) -> float:
        retry = self._scenario.retry
        is_order = name in self._orders
        return retry.checkout_delivery_timeout if is_order else retry.cart_delivery_timeout

    def _sins_of_deadlines(self) -> Iterator[str]:
        for at, name in self._api.begun:
            if at > self._accepted_at[name] + self._timeout_of(name) + 0.01:
                yield f"{name} was sent {at - self._accepted_at[name]:.0f} s after its acceptance"

    def _sins_of_publishing(self) -> Iterator[str]:
        """Yield what stands at the broker twice, and publishers whose accounts are wrong."""
        parcels = self._server.broker.published
        names = [name_of(orjson.loads(parcel.body)["event"]) for parcel in parcels]
        if len(set(names)) < len(names):
            yield f"{len(names) - len(set(names))} events were published twice"
        published = 0
        for shop in (*self._shops, *self._dead_shops):
            stats = shop.client.stats()
            published += stats.published
            ended = sum(getattr(stats, status.value) for status in OutcomeStatus)
            if stats.accepted != ended + stats.queued + stats.in_flight:
                yield f"the accounts of {shop.process} are wrong: {stats}"
        promised = sum(map(len, self._promised.values()))
        if not promised <= published <= len(names):
            yield f"{promised} promised, {published} published, {len(names)} at the broker"

    def _sins_of_accounts(self) -> Iterator[str]:
        """Yield where relays count otherwise than the server."""
        told = [worker.relay.stats() for worker in self._workers]
        server, most = self._server, self._faults * self._scenario.visitors
        pairs = {
            "done": (_total(told, "done"), server.done["done"]),
            "dead_letters": (_total(told, "dead_letters"), server.done["bury"]),
            "redelivered": (_total(told, "redelivered"), server.redelivered),
        }
        for what, (theirs, servers) in pairs.items():
            if not servers - most <= theirs <= servers:
                yield f"{what}: the relays say {theirs}, the server {servers}"
        if server.redelivered > 2 * most:  # one that is frozen may be handed them once more
            yield f"{server.redelivered} events were handed out again, after {self._faults} faults"
        sessions = _total(told, "sessions")
        if not self._faults and (sessions != len(told) or _total(told, "fenced")):
            yield f"without a fault, {len(told)} relays had {sessions} sessions: {told}"

    def figures(self, seconds: float) -> Figures:
        """Return what it amounted to."""
        told = [worker.relay.stats() for worker in self._workers]
        return Figures(
            seeds=1,
            events=sum(map(len, self._promised.values())),
            requests=len(self._api.begun),
            faults=self._faults,
            redelivered=self._server.redelivered,
            repeats=self._repeats,
            letters=len(self._server.broker.letters),
            fenced=_total(told, "fenced"),
            virtual_seconds=seconds,
        )


def _total(stats: list[RelayStats], name: str) -> int:
    return sum(getattr(each, name) for each in stats)


def _name(event: Event) -> str:
    if isinstance(event, CartEvent):
        return event.product_id
    assert isinstance(event, CheckoutEvent)
    return event.line_items[0].product_id


async def _started(client: Publisher) -> None:
    await client.start()


async def _frozen(process: Process, seconds: float) -> None:
    process.stop()
    await asyncio.sleep(seconds)
    process.go_on()


_FATES: Final[dict[str, Callable[[_Life, Fault], Awaitable[None]]]] = {
    "kill": _Life._kill,
    "stop": _Life._stop,
    "cancel": _Life._cancel,
    "freeze": _Life._freeze,
    "cut": _Life._cut,
    "broker-away": _Life._take_broker_away,
    "broker-restarted": _Life._take_broker_away,
    "api-away": _Life._take_api_away,
    "lose-publish": _Life._lose,
    "lose-done": _Life._lose,
    "lose-extend": _Life._lose,
    "lose-bury": _Life._lose,
    "kill-publisher": _Life._kill_shop,
    "freeze-publisher": _Life._freeze_shop,
}
