"""Order over the processes of one machine: what is adopted stands where its age puts it."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from alhena_async import (
    AlhenaClient,
    HttpPolicy,
    OutcomeStatus,
    Overflow,
    QueuePolicy,
    Receipt,
    RetryPolicy,
)
from alhena_async.journal import Backlog, Page
from alhena_async.testing import run_virtually, virtual
from tests.memory_journal import Kept, MemoryJournal, kept
from tests.scripted import NEVER_SENT, Script, balance, cart, checkout, client_over

RECORDED, COALESCED = OutcomeStatus.RECORDED, OutcomeStatus.COALESCED
LOOK = 60.0
"""Seconds after the start at which a client looks for files of dead processes."""


class Api(Script):
    """Answers one request a time, and none before `begin`."""

    def __init__(self) -> None:
        super().__init__()
        self._gate = asyncio.Event()

    def begin(self) -> None:
        self._gate.set()

    async def send(self, *request: Any) -> Any:
        await self._gate.wait()
        return await super().send(*request)

    def heard(self, who: str = "v") -> list[str]:
        """Return the products and the orders of a visitor, in order."""
        sent = [one.payload for one in self.sent if one.fingerprint == who]
        return [one.get("product_id") or one["orderId"] for one in sent]


@asynccontextmanager
async def adopting(
    journal: MemoryJournal, api: Api, *, capacity: int = 100, **arguments: Any
) -> AsyncIterator[AlhenaClient]:
    """A client with one request at once, which somebody else has taken."""
    policy = {"linger": 0.0, "capacity": capacity, "max_in_flight": 1, "checkout_reserve": 0.0}
    given = {
        "coalescing": "off",
        "queue": QueuePolicy(**policy | arguments.pop("policy", {})),
        "http": HttpPolicy(request_timeout=800.0),
    }
    async with client_over(api, journal=journal, **given | arguments) as client:
        client.track_nowait(cart("other"))
        await asyncio.sleep(1.0)
        yield client
        balance(client)
        api.begin()
        await client.flush()
        balance(client)
        assert client._queue._backlogs.held_count == 0
        assert client._queue.scheduler.lanes == {}
    assert journal.rows == {}


def file(who: str = "v", /, **accepted: float) -> list[Kept]:
    """Return a dead process's file: its products, by when each was accepted."""
    return [row for name, at in accepted.items() for row in kept(cart(who, product=name), since=at)]


async def until(moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())


@virtual
async def test_rows_adopted_later_go_before_younger_events_that_wait() -> None:
    """Clicked 1, 2 at a process that dies, then 3, 4 at this one."""
    journal, api = MemoryJournal(), Api()
    async with adopting(journal, api) as client:
        for name in ("p3", "p4"):
            await until(10.0 + int(name[1]))
            client.track_nowait(cart(product=name))
        journal.dead.append(file(p1=11.0, p2=12.0))
        await until(LOOK + 1.0)
        assert client.stats().replayed == 2
    assert api.heard() == ["p1", "p2", "p3", "p4"]


@virtual
async def test_rows_adopted_later_go_behind_older_events_that_wait() -> None:
    """Clicked 1, 3, 5 here and 2, 4 at the process that died."""
    journal, api = MemoryJournal(), Api()
    async with adopting(journal, api) as client:
        for number in (1, 3, 5):
            await until(10.0 + number)
            client.track_nowait(cart(product=f"p{number}"))
        journal.dead.append(file(p2=12.0, p4=14.0))
        await until(LOOK + 1.0)
        client.track_nowait(cart(product="p6"))
    assert api.heard() == ["p1", "p2", "p3", "p4", "p5", "p6"]


@virtual
async def test_the_rows_of_several_dead_files_are_merged() -> None:
    """At a start and at a later look, whatever the order of the files."""
    journal, api = MemoryJournal(file(p1=-9.0, p4=-6.0), file(p2=-8.0, p3=-7.0)), Api()
    async with adopting(journal, api):
        journal.dead += [file(p6=6.0, p7=7.0), file(p5=5.0, p8=8.0)]
        await until(LOOK + 1.0)
    assert api.heard() == [f"p{number}" for number in range(1, 9)]


@virtual
async def test_rows_of_a_later_look_are_merged_with_those_that_wait_already() -> None:
    """A process that dies later may have accepted earlier; each file keeps its order."""
    journal, api = MemoryJournal(file(p1=-9.0, p3=-7.0, p5=-5.0)), Api()
    async with adopting(journal, api) as client:
        await until(10.0)
        client.track_nowait(cart(product="p7"))
        journal.dead.append(file(p2=-8.0, p4=-6.0, p6=-4.0))
        await until(LOOK + 1.0)
        journal.dead.append(file(p0=-10.0, p8=70.0))
        await until(2 * LOOK + 1.0)
        assert client.stats().replayed == 8
    assert api.heard() == [f"p{number}" for number in range(9)]


@virtual
async def test_what_an_attempt_has_touched_stays_in_front() -> None:
    """It is in backoff when older rows turn up: it is not overtaken, what waits behind it is."""
    journal, api = MemoryJournal(), Api()
    api.answer(NEVER_SENT)
    retry = RetryPolicy(base=1e-9, cap=1e-9)
    async with client_over(
        api, journal=journal, retry=retry, coalescing="off", queue=QueuePolicy(linger=0.0)
    ) as client:
        tried, waits = (client.track_nowait(cart(product=name)) for name in ("p2", "p3"))
        journal.dead.append(file(p1=-1.0))
        await until(LOOK + 1.0)
        assert client.stats().in_flight == 1
        api.begin()
        await client.flush()
        assert tried.done()
        assert waits.done()
    assert list(dict.fromkeys(api.heard())) == ["p2", "p1", "p3"]


@virtual
async def test_other_visitors_wait_for_nothing() -> None:
    """Only what waits in lanes of the adopted rows is taken back."""
    journal, api = MemoryJournal(latency=5.0), Api()
    async with adopting(journal, api) as client:
        free, held = client.track_nowait(cart("w")), client.track_nowait(cart("v"))
        journal.dead.append(file(p1=0.0))
        await until(LOOK + 1.0)
        api.begin()
        await until(LOOK + 2.0)
        assert free.done()
        assert not held.done()


@virtual
async def test_who_lingers_when_rows_turn_up_lingers_no_more() -> None:
    """It is due as soon as it has its place."""
    journal, api = MemoryJournal(), Api()
    api.begin()
    async with client_over(api, journal=journal, queue=QueuePolicy(linger=30.0)) as client:
        journal.dead.append(file(p1=0.0))
        await until(LOOK - 1.0)
        receipt = client.track_nowait(cart(product="p2"))
        await until(LOOK + 1.0)
        assert receipt.done()
    assert api.heard() == ["p1", "p2"]


@virtual
async def test_rows_that_nobody_counted_go_before_younger_events_that_wait() -> None:
    """A damaged file's lanes are not known before its rows come."""

    class Damaged(MemoryJournal):
        async def adopt(self) -> Any:
            found = await super().adopt()
            return [Backlog(file=one.file, rows=1, lanes={}) for one in found]

        async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
            if file is not None and not self.pages:
                self.pages.append(0)
                return Page(rows=[], last=False)
            return await super().page(file, after=after, limit=limit)

    journal, api = Damaged(), Api()
    async with adopting(journal, api) as client:
        for number in (1, 4):
            await until(10.0 + number)
            client.track_nowait(cart(product=f"p{number}"))
        journal.dead.append(file(p2=12.0, p3=13.0))
        await until(LOOK + 1.0)
    assert api.heard() == ["p1", "p2", "p3", "p4"]


@virtual
async def test_nobody_waits_for_a_file_that_is_still_salvaged() -> None:
    """Neither the rows of other files nor what is held behind those."""

    class Damaged(MemoryJournal):
        async def page(self, file: int | None, *, after: int | None, limit: int) -> Page:
            if file == 0 and asyncio.get_running_loop().time() < 100.0:
                await asyncio.sleep(0.05)
                return Page(rows=[], last=False)
            return await super().page(file, after=after, limit=limit)

    journal, api = Damaged(file("w", p1=-3.0), file(p1=-2.0)), Api()
    api.begin()
    async with client_over(api, journal=journal, queue=QueuePolicy(linger=0.0)) as client:
        held = client.track_nowait(cart(product="p2"))
        await until(10.0)
        assert held.done()
        assert api.heard() == ["p1", "p2"]
        assert api.heard("w") == []
        await client.flush()
    assert api.heard("w") == ["p1"]


@virtual
async def test_a_look_comes_though_there_is_no_room_for_what_it_has_found_before() -> None:
    """Every minute, however long the API is out of reach."""
    journal = MemoryJournal(file(**{f"p{number:02}": number - 100.0 for number in range(0, 40, 2)}))
    api = Api()
    async with adopting(journal, api, capacity=8) as client:
        await until(10.0)
        assert client.stats().replayed == 4
        journal.dead.append(file(**{f"p{number:02}": number - 100.0 for number in range(9, 40, 2)}))
        await until(LOOK + 1.0)
        assert journal.calls.count("adopt") == 2
    heard = api.heard()
    assert len(heard) == 36
    assert heard == sorted(heard)


# --- folding -----------------------------------------------------------------------------------


def counts(*receipts: Receipt) -> list[OutcomeStatus]:
    return [one.outcome.status for one in receipts if one.outcome is not None]


@virtual
async def test_what_was_folded_stays_folded_and_folds_on() -> None:
    """Behind the rows, with each other; never with a row."""
    journal, api = MemoryJournal(), Api()
    async with adopting(journal, api, coalescing="latest") as client:
        receipts = [client.track_nowait(cart(quantity=number)) for number in (1, 2)]
        journal.dead.append(kept(cart(quantity=9), since=-1.0))
        await until(LOOK + 1.0)
        receipts += [client.track_nowait(cart(quantity=number)) for number in (3, 4)]
    assert [sent.payload["quantity"] for sent in api.sent if sent.fingerprint == "v"] == [9, 4]
    assert counts(*receipts) == [COALESCED, COALESCED, COALESCED, RECORDED]


@virtual
async def test_two_that_speak_for_others_may_fold_once_nothing_stands_between_them() -> None:
    """What stood between them expired while they were held; all of them settle."""
    journal, api = MemoryJournal(latency=100.0), Api()
    retry = RetryPolicy(checkout_delivery_timeout=70.0)
    async with adopting(journal, api, coalescing="latest", retry=retry) as client:
        receipts = [client.track_nowait(cart(quantity=number)) for number in (1, 2)]
        between = client.track_nowait(checkout())
        receipts += [client.track_nowait(cart(quantity=number)) for number in (3, 4)]
        journal.dead.append(kept(cart(quantity=9), since=-1.0))
        await until(LOOK + 90.0)
        assert counts(between) == [OutcomeStatus.EXPIRED]
        api.begin()
        await until(LOOK + 110.0)
        assert counts(*receipts) == [COALESCED, COALESCED, COALESCED, RECORDED]
    assert [sent.payload["quantity"] for sent in api.sent if sent.fingerprint == "v"] == [9, 4]


@virtual
async def test_a_repeated_order_joins_the_row_of_the_first() -> None:
    """With all that had joined it; the API hears the order once."""
    journal, api = MemoryJournal(), Api()
    async with adopting(journal, api, coalescing="duplicates") as client:
        receipts = [client.track_nowait(checkout(order_id="o1")) for _ in range(2)]
        journal.dead.append(kept(checkout(order_id="o1"), since=-1.0))
        await until(LOOK + 1.0)
        receipts.append(client.track_nowait(checkout(order_id="o1")))
    assert api.heard() == ["o1"]
    assert counts(*receipts) == [COALESCED] * 3


@virtual
async def test_what_cancels_out_as_it_comes_back_leaves_the_row_its_lane() -> None:
    """It was all that the lane had."""
    journal, api = MemoryJournal(latency=100.0), Api()
    retry = RetryPolicy(checkout_delivery_timeout=70.0)
    async with adopting(journal, api, coalescing="net", retry=retry) as client:
        added = client.track_nowait(cart())
        client.track_nowait(checkout())
        removed = client.track_nowait(cart(type="ITEM_REMOVED", quantity=0))
        journal.dead.append(file(p2=50.0))
        await until(LOOK + 110.0)
        assert counts(added, removed) == [COALESCED, COALESCED]
    assert api.heard() == ["p2"]


# --- room, disk, end ---------------------------------------------------------------------------


@virtual
async def test_what_was_taken_back_is_shed_like_all_that_waits() -> None:
    """The oldest first; rows never."""
    journal, api = MemoryJournal(latency=100.0), Api()
    journal.max_rows = 0
    policy = {"overflow": Overflow.SHED}
    async with adopting(journal, api, capacity=8, policy=policy) as client:
        taken_back = [client.track_nowait(cart(product=f"p{number}")) for number in range(3)]
        journal.dead.append(file(p9=-1.0))
        await until(LOOK + 1.0)
        for number in range(4):
            client.track_nowait(cart("w", product=f"w{number}"))
        assert counts(*taken_back) == [OutcomeStatus.DROPPED]
        await until(LOOK + 110.0)
    assert api.heard() == ["p9", "p1", "p2"]


@virtual
async def test_what_is_on_disk_alone_stays_behind_rows_and_in_its_order() -> None:
    """First in, first out for each process, wherever its events wait."""
    journal, api = MemoryJournal(), Api()
    async with adopting(journal, api, capacity=6) as client:
        await until(10.0)
        own = [f"p{number:02}" for number in range(12)]
        for name in own:
            client.track_nowait(cart(product=name))
        assert client.stats().spilled > 0
        journal.dead.append(file(a=1.0, b=2.0, c=3.0))
        await until(LOOK + 1.0)
        client.track_nowait(cart(product="p99"))
    assert api.heard() == ["a", "b", "c", *own, "p99"]


@virtual
async def test_close_keeps_what_waits_behind_rows_that_are_not_read() -> None:
    """The next start delivers both, in order."""
    journal, api = MemoryJournal(latency=50.0), Api()
    api.begin()
    client = client_over(api, journal=journal, queue=QueuePolicy(linger=300.0))
    await client.start()
    waits = client.track_nowait(cart(product="p2"))
    journal.dead.append(file(p1=-1.0))
    await until(LOOK + 20.0)
    report = await client.close()
    assert counts(waits) == [OutcomeStatus.KEPT]
    assert report.undelivered == (cart(product="p2"),)
    assert api.heard() == []
    async with client_over(api, journal=MemoryJournal(*journal.left())) as client:
        await client.flush()
    assert api.heard() == ["p1", "p2"]


@virtual
async def test_where_all_that_has_room_waits_for_rows_one_comes_in_all_the_same() -> None:
    """Nothing would ever move otherwise."""
    journal, api = MemoryJournal(), Api()
    api.begin()
    policy = QueuePolicy(linger=300.0, capacity=2, checkout_reserve=0.0)
    async with client_over(api, journal=journal, queue=policy) as client:
        for who in "ab":
            client.track_nowait(cart(who, product="p3"))
        journal.dead.append([*file("a", p1=-3.0, p2=-2.0), *file("b", p1=-3.0, p2=-2.0)])
        await until(LOOK + 1.0)
        balance(client)
        assert client.stats().recorded == 6
    assert api.heard("a") == api.heard("b") == ["p1", "p2", "p3"]


@virtual
async def test_many_lanes_are_taken_back_in_steps_and_in_order() -> None:
    """New events come meanwhile; each visitor keeps the order of its own."""
    journal, api = MemoryJournal(), Api()
    visitors = [f"v{number}" for number in range(700)]
    async with adopting(journal, api, capacity=5_000) as client:
        for who in visitors:
            client.track_nowait(cart(who, product="p2"))
        journal.dead.append([row for who in visitors for row in file(who, p1=-1.0)])
        await until(LOOK)
        for number in range(3, 9):
            for who in visitors[::7]:
                client.track_nowait(cart(who, product=f"p{number}"))
            await asyncio.sleep(0)
    for who in visitors:
        assert api.heard(who) == [
            f"p{number}" for number in range(1, 9 if who in visitors[::7] else 3)
        ]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_adopted_whenever_comes_in_order(seed: int) -> None:
    """Visitors shared by a live process and dead ones: each in order of acceptance."""
    shop = _Shop(seed, capacity=1_000)
    run_virtually(shop.live)
    for who in "ab":
        assert shop.heard(who) == [one for _, one in sorted(shop.accepted[who])]


@pytest.mark.parametrize("seed", range(40))
def test_no_room_is_so_small_that_rows_and_what_waits_behind_them_stand_still(seed: int) -> None:
    """Each process's own order holds, wherever its events wait; one row more than fits, at most."""
    shop = _Shop(seed, capacity=seed % 7 + 1)
    run_virtually(shop.live)
    assert shop.most <= shop.capacity + 1
    for who in "ab":
        heard = shop.heard(who)
        assert sorted(heard) == sorted(one for _, one in shop.accepted[who])
        for process in {one.partition(".")[0] for one in heard}:
            of_it = [(at, one) for at, one in shop.accepted[who] if one.startswith(f"{process}.")]
            assert [one for one in heard if one.startswith(f"{process}.")] == [
                one for _, one in sorted(of_it)
            ]


class _Shop:
    """A process that lives, and others that die beside it."""

    def __init__(self, seed: int, *, capacity: int) -> None:
        self.capacity = capacity
        self.accepted = defaultdict[str, list[tuple[float, str]]](list)
        self.most = 0
        self._dice = random.Random(seed)
        self._dead = itertools.count(1)
        self._api: Api

    def heard(self, who: str) -> list[str]:
        return self._api.heard(who)

    async def live(self) -> None:
        dice = self._dice
        journal, self._api = MemoryJournal(latency=dice.choice([0.0, 0.1, 5.0])), Api()
        async with adopting(journal, self._api, capacity=self.capacity) as client:
            for look in range(1, 4):
                for _ in range(dice.randrange(12)):
                    await asyncio.sleep(dice.choice([0.0, 0.5, 1.0]))
                    self._track(client)
                for _ in range(dice.randrange(3)):
                    journal.dead.append(self._file(before=look * LOOK - 10.0))
                await until(look * LOOK + 30.0)
                self.most = max(self.most, client._queue.outstanding)

    def _track(self, client: AlhenaClient) -> None:
        who, now = self._dice.choice("ab"), asyncio.get_running_loop().time()
        name = self._name(who, "own", now)
        client.track_nowait(cart(who, product=name))

    def _file(self, before: float) -> list[Kept]:
        process, rows = f"dead{next(self._dead)}", list[Kept]()
        for at in sorted(self._dice.uniform(0.0, before) for _ in range(8)):
            who = self._dice.choice("ab")
            rows += kept(cart(who, product=self._name(who, process, at)), since=at)
        return rows

    def _name(self, who: str, process: str, at: float) -> str:
        name = f"{process}.{len(self.accepted[who]):03}"
        self.accepted[who].append((at, name))
        return name
