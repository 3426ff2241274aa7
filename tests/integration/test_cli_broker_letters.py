"""`alhena dead-letters` over a broker's letters, as users run it, against a real server."""

import asyncio
import base64
import json
import re
import signal
import stat
import time
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from alhena_async import Outcome, OutcomeStatus
from alhena_async.emulator import Emulator
from alhena_async.events import Event
from alhena_async.journal import DeadLetterFilter
from alhena_async.relay import JetStream, Relay
from alhena_async.relay._admin import connected
from alhena_async.relay._letter import letter_of, unreadable_letter
from alhena_async.relay._letters import JetStreamLetters, parcel_of, wanted_of
from alhena_async.relay._message import Message, encode
from alhena_async.relay._topology import Topology
from tests.cli_process import Ended, alhena, ended, rows, started
from tests.nats_process import PROGRAM, NatsServer, make_topology
from tests.patience import PATIENCE
from tests.scripted import cart, checkout

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no nats-server")

ENDED = 1_790_000_000.0


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """One server, with nothing on it."""
    home = tmp_path / "server"
    home.mkdir()
    made = await NatsServer(home).start()
    yield made
    made.stop()


@pytest.fixture
async def server(bare: NatsServer) -> NatsServer:
    """One server with the streams."""
    await make_topology(JetStream(bare.url), Topology(partitions=2, lease=5.0))
    return bare


def letter(event: Event, status: OutcomeStatus = OutcomeStatus.REJECTED, **changed: Any) -> bytes:
    """Return what a relay would keep."""
    key, order_id = changed.pop("company_key", "shop"), changed.pop("order_id", None)
    facts: dict[str, Any] = {"attempts": 1, "code": None, "http_status": None, "detail": None}
    outcome = Outcome(event=event, status=status, **facts | changed)
    message = Message(company_key=key, order_id=order_id, accepted_at=ENDED - 9, event=event)
    return letter_of(outcome, encode(message), destination="https://x/", ended=ENDED)


async def keep(server: NatsServer, letters: Sequence[bytes]) -> None:
    async with connected(JetStream(server.url)) as connection:
        for start in range(0, len(letters), 64):
            some = letters[start : start + 64]
            await asyncio.gather(*(connection.request("alhena.letters", one) for one in some))


async def waiting(server: NatsServer) -> list[tuple[str, dict[str, Any]]]:
    """Return id and message of each event that waits, in the stream's order."""
    found = []
    async with connected(JetStream(server.url)) as connection:
        number = 0
        while said := await connection.find(
            "STREAM.MSG.GET.ALHENA", {"seq": number + 1, "next_by_subj": ">"}
        ):
            number = said["message"]["seq"]
            headers = base64.b64decode(said["message"]["hdrs"]).decode()
            [id_] = [line[13:] for line in headers.splitlines() if line.startswith("Nats-Msg-Id")]
            found.append((id_, json.loads(base64.b64decode(said["message"]["data"]))))
    return found


async def left(server: NatsServer) -> list[int]:
    """Return the numbers of the letters that are left."""
    box = JetStreamLetters(JetStream(server.url).dialler())
    await box.open()
    try:
        return [one.id async for one in wanted_of(box.after, DeadLetterFilter())]
    finally:
        await box.close()


async def letters(server: NatsServer, tmp_path: Path, verb: str, *options: str) -> Ended:
    return await alhena("dead-letters", verb, server.url, *options, cwd=tmp_path)


FOUR = [
    letter(attrs.evolve(cart("a"), value=Decimal("9.50")), code="INVALID", http_status=409),
    letter(checkout("b", order_id="A3"), OutcomeStatus.EXPIRED, order_id="A3", detail="too late"),
    letter(cart("c"), OutcomeStatus.UNKNOWN, company_key="other"),
    unreadable_letter(b"\xff\x1b[31m", "is no UTF-8", destination="https://x/", ended=ENDED),
]


async def test_they_are_listed_shown_and_told_as_a_directorys(
    server: NatsServer, tmp_path: Path
) -> None:
    """Same table, same fields; N is the letter's number in its stream."""
    await keep(server, FOUR)
    listed = await letters(server, tmp_path, "list")
    assert listed.status == 0
    told = plain(listed.out)
    assert "4 dead letters" in told
    assert [line.split()[0] for line in told.splitlines()[1:5]] == ["1", "2", "3", "4"]
    assert "order A3" in told
    shown = await letters(server, tmp_path, "show", "2")
    assert "too late" in plain(shown.out)
    assert "A3" in plain(shown.out)
    as_json = await letters(server, tmp_path, "show", "1", "--json")
    said = json.loads(as_json.out, parse_float=Decimal)
    assert said.pop("event")["value"] == Decimal("9.50")
    assert said == {
        "id": 1, "ended": "2026-09-21T14:13:20Z", "accepted": "2026-09-21T14:13:11Z",
        "kind": "cart", "status": "rejected", "code": "INVALID", "http_status": 409, "attempts": 1,
        "detail": None, "order_id": None, "company_key": "shop", "destination": "https://x/",
        "resent": None, "resent_status": None, "resent_detail": None,
    }  # fmt: skip
    nothing = await letters(server, tmp_path, "show", "9")
    assert nothing.status == 2
    assert "holds no dead letter 9" in plain(nothing.err)


WANTED: list[tuple[dict[str, Any], list[int]]] = [
    ({"kinds": ["cart"]}, [1, 3]),
    ({"statuses": ["unreadable"]}, [4]),
    ({"statuses": ["expired", "unknown"]}, [2, 3]),
    ({"codes": ["INVALID"]}, [1]),
    ({"company_keys": ["other"], "kinds": ["cart"]}, [3]),
    ({"ids": [4, 2, 99, -1, 10**30]}, [2, 4]),
    ({"until": ENDED}, []),
    ({"since": ENDED, "limit": 2}, [1, 2]),
    ({"resent": True}, []),
    ({"resent": False, "limit": 1}, [1]),
    ({"resent_statuses": ["sending"]}, []),
    ({"ids": [3], "limit": 0}, []),
]


async def test_filters_narrow(server: NatsServer, tmp_path: Path) -> None:
    """The same ones, with the same meaning."""
    await keep(server, FOUR)
    box = JetStreamLetters(JetStream(server.url).dialler())
    await box.open()
    for fields, expected in WANTED:
        found = wanted_of(box.after, DeadLetterFilter(**fields))
        assert [one.id async for one in found] == expected, fields
    await box.close()
    done = await letters(server, tmp_path, "list", "--json", "--kind", "cart", "--limit", "1")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [1]


async def test_they_are_exported(server: NatsServer, tmp_path: Path) -> None:
    """As `alhena replay` reads them; what is unreadable is counted."""
    await keep(server, FOUR)
    done = await letters(server, tmp_path, "export", "out.jsonl")
    assert done.status == 0
    assert "3 dead letters written, 1 unreadable ones left out" in plain(done.err)
    assert "2 company keys" in plain(done.err)
    lines = rows(tmp_path / "out.jsonl")
    assert [line["dead_letter"]["id"] for line in lines] == [1, 2, 3]
    assert lines[1]["order_id"] == "A3"
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600
    twice = await letters(server, tmp_path, "export", "out.jsonl")
    assert (twice.status, "exists" in twice.err) == (2, True)
    piped = await letters(server, tmp_path, "export", "-", "--kind", "checkout")
    assert json.loads(piped.out)["order_id"] == "A3"


async def test_they_are_purged(server: NatsServer, tmp_path: Path) -> None:
    """Asks first; then what matches is gone, and the rest is not."""
    await keep(server, FOUR)
    asked = await letters(server, tmp_path, "purge")
    assert (asked.status, "Delete 4 dead letters for good?" in asked.err) == (1, True)
    assert await left(server) == [1, 2, 3, 4]
    done = await letters(server, tmp_path, "purge", "--yes", "--kind", "cart")
    assert (done.status, "2 deleted" in plain(done.out)) == (0, True)
    assert await left(server) == [2, 4]
    await letters(server, tmp_path, "purge", "--yes")
    again = await letters(server, tmp_path, "purge", "--yes")
    assert (again.status, "Nothing to delete" in plain(again.out)) == (0, True)
    assert "No dead letters" in plain((await letters(server, tmp_path, "list")).out)


async def test_a_replay_publishes_in_order_and_as_of_now(
    server: NatsServer, tmp_path: Path
) -> None:
    """With the order id that it had; what is unreadable stays, and is said and counted."""
    await keep(server, [*FOUR, letter(checkout("b", order_id=None), order_id="auto-7")])
    began = time.time()
    done = await letters(server, tmp_path, "replay")
    assert done.status == 1, done
    assert "4 letters published again" in plain(done.out)
    assert "1 letter: no events and cannot be sent" in plain(done.out)
    found = await waiting(server)
    assert [(one["company_key"], one["order_id"]) for _, one in found] == [
        ("shop", None), ("shop", "A3"), ("other", None), ("shop", "auto-7"),
    ]  # fmt: skip
    assert all(one["accepted_at"] >= began - 1 for _, one in found)
    assert "order_id" not in found[3][1]["event"]
    assert await left(server) == [4]
    await letters(server, tmp_path, "purge", "--yes")
    nothing = await letters(server, tmp_path, "replay")
    assert (nothing.status, "Nothing to send" in plain(nothing.out)) == (0, True)


async def test_a_relay_delivers_what_is_sent_again(server: NatsServer, tmp_path: Path) -> None:
    """What expired has a deadline of its own again; --send-as says another key."""
    async with Emulator() as api:
        broker = JetStream(server.url)
        wanted = Topology(partitions=2, lease=5.0, destination=str(api.url))
        init = await alhena(
            "relay", "init", "--broker", server.url, "--partitions", "2", "--lease", "5",
            "--base-url", wanted.destination, "--apply", cwd=tmp_path,
        )  # fmt: skip
        assert init.status == 0, init.err
        await keep(server, [letter(checkout("b", order_id="A3"), order_id="A3"), FOUR[0]])
        done = await letters(server, tmp_path, "replay", "--send-as", "mine", "--kind", "checkout")
        assert done.status == 0, done
        relay = Relay(broker=broker)
        running = asyncio.create_task(relay.run())
        async with asyncio.timeout(PATIENCE):
            while not api.recorded():  # noqa: ASYNC110  it comes over the network
                await asyncio.sleep(0.02)
        relay.stop()
        await running
        [order] = api.recorded()
        assert (order.order_id, order.company_key) == ("A3", "mine")
    assert await left(server) == [2]


async def test_a_letter_that_was_published_and_not_removed_makes_no_second_event(
    server: NatsServer, tmp_path: Path
) -> None:
    """The id is the letter's, whoever tries; a later letter of the same event has another."""
    await keep(server, [FOUR[0], FOUR[0]])
    died = JetStreamLetters(JetStream(server.url).dialler())
    await died.open()
    first = await died.after(0)
    assert first is not None
    parcel = parcel_of(first, died.id_of(first.id), now=1.0, company_key=None)
    assert parcel is not None
    await died.publish(parcel)
    await died.close()
    assert (await letters(server, tmp_path, "replay")).status == 0
    found = await waiting(server)
    assert found[0][0] == parcel.id
    assert len(found) == 2
    assert len({id_ for id_, _ in found}) == 2


MANY = 1_500


async def test_a_replay_that_is_killed_again_and_again_loses_and_doubles_nothing(
    server: NatsServer, tmp_path: Path
) -> None:
    """SIGKILL, Ctrl-C, SIGTERM, the server gone and back; every event once, in order."""
    await keep(server, [letter(cart("v", product=f"p{n:04}")) for n in range(MANY)])
    listed = await letters(server, tmp_path, "list")
    assert "1,500 dead letters" in plain(listed.out)
    statuses = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}
    for round_, number in enumerate(statuses):
        async with started("dead-letters", "replay", server.url, cwd=tmp_path) as process:
            await published_more(server, 1 + 97 * round_)
            process.send_signal(number)
            end = await ended(process)
        assert end.status in {statuses[number], 0}, end
    async with started("dead-letters", "replay", server.url, cwd=tmp_path) as process:
        await published_more(server, 10)
        server.kill()
        await server.start()
        end = await ended(process)
    assert end.status == 0, end
    found = [one["event"]["product_id"] for _, one in await waiting(server)]
    assert found == [f"p{n:04}" for n in range(MANY)]
    assert await left(server) == []


async def published_more(server: NatsServer, many: int) -> None:
    """Wait until so many more events stand in the stream, or no letter is left."""
    async with asyncio.timeout(PATIENCE), connected(JetStream(server.url)) as connection:
        goal = None
        while True:
            events = await connection.stream("ALHENA")
            kept = await connection.stream("ALHENA-LETTERS")
            assert events is not None
            assert kept is not None
            count = events["state"]["messages"]
            goal = count + many if goal is None else goal
            if count >= goal or not kept["state"]["messages"]:
                return
            await asyncio.sleep(0.005)


async def test_what_fails_again_meanwhile_is_for_another_run(
    server: NatsServer, tmp_path: Path
) -> None:
    """A run ends: it sends what was there as it began, whatever relays bury meanwhile."""
    await keep(server, FOUR[:2])
    box = JetStreamLetters(JetStream(server.url).dialler())
    await box.open()
    seen = []
    async for one in wanted_of(box.after, DeadLetterFilter()):
        await keep(server, FOUR[:1])
        seen.append(one.id)
    await box.close()
    assert seen == [1, 2]


HOSTILE = [
    b"",
    b"no JSON",
    b"\xff\xfe",
    b"[" * 100_000,
    b"NaN",
    b"[1]",
    b"{}",
    b'{"message": NaN}',
    b'{"message": {"v": 1}, "status": "\\u001b[31m", "destination": 5}',
    b'{"base64": "!", "status": "rejected", "destination": "https://x/", "ended": 1e400}',
    b'{"base64": [1], "status": {}, "code": [], "attempts": -1, "http_status": 1e9, "ended": "x"}',
    json.dumps({"detail": "\x1b[31m\x07" * 999, "status": "x", "message": "\ud800"}).encode(),
    b'{"ended": ' + b"9" * 4_000 + b', "attempts": ' + b"9" * 4_000 + b', "status": "rejected"}',
    FOUR[1].replace(b'"A3"', b'"\\u001b[2J"'),
    FOUR[0].replace(b'"attempts":1', b'"attempts":"many"'),
    FOUR[0].replace(b'"v":1', b'"v":7', 1),
]


async def test_letters_of_other_programs_are_shown_and_never_crash(
    server: NatsServer, tmp_path: Path
) -> None:
    """Whatever stands there: escaped, `unreadable` where it is no event, and not sent."""
    await keep(server, HOSTILE)
    listed = await letters(server, tmp_path, "list", "--json")
    assert listed.status == 0, listed.err
    said = [json.loads(line) for line in listed.out.splitlines()]
    assert [one["id"] for one in said] == list(range(1, len(HOSTILE) + 1))
    readable = [one["id"] for one in said if one["status"] != "unreadable"]
    assert readable == [14, 16]
    for verb in (["list"], ["show", "12"], ["show", "14"]):
        done = await letters(server, tmp_path, *verb)
        assert done.status == 0
        assert not any(bad in done.out + done.err for bad in ("\x1b[2J", "\x07", "Traceback"))
    sent = await letters(server, tmp_path, "replay")
    assert sent.status == 1
    assert f"{len(HOSTILE) - 2} letters: no events" in plain(sent.out)
    assert len(await left(server)) == len(HOSTILE) - 2
    gone = await letters(server, tmp_path, "purge", "--yes", "--status", "unreadable")
    assert f"{len(HOSTILE) - 2} deleted" in plain(gone.out)


async def test_a_stream_that_is_missing_is_said_in_a_line(bare: NatsServer, tmp_path: Path) -> None:
    """That of the events, or that of the letters: exit 2, whatever is asked."""
    for verb in (["show", "1"], ["export", "x"], ["purge", "--yes"]):
        assert "run alhena relay init" in one_line(await letters(bare, tmp_path, *verb))
    assert not (tmp_path / "x").exists()
    await make_topology(JetStream(bare.url, prefix="other"), Topology(prefix="other", partitions=1))
    async with connected(JetStream(bare.url)) as connection:
        await connection.api("STREAM.DELETE.OTHER-LETTERS", {})
    half = await letters(bare, tmp_path, "replay", "--prefix", "other")
    assert "no stream OTHER-LETTERS: run alhena relay init" in one_line(half)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("nats://shop:secret@127.0.0.1:1", "no connection to nats://127.0.0.1:1"),
        ("http://shop:secret@x/", "servers must be URLs"),
        ("nats://shop:secret@x/path", "nothing behind the port"),
    ],
)
async def test_a_url_that_cannot_work_is_said_without_its_password(
    tmp_path: Path, where: str, told: str
) -> None:
    """Exit 2."""
    done = await alhena("dead-letters", "list", where, cwd=tmp_path)
    assert done.status == 2
    assert told in " ".join(plain(done.err).split())
    assert "secret" not in done.err + done.out


def one_line(done: Ended) -> str:
    assert done.status == 2, done
    [line] = plain(done.err).strip().splitlines()
    return line


async def test_where_a_brokers_letters_go_is_the_brokers_business(
    server: NatsServer, tmp_path: Path
) -> None:
    """--region, --base-url and --broker are refused, and nothing is sent."""
    await keep(server, FOUR[:1])
    for options in (["--region", "us"], ["--broker", "x"]):
        done = await letters(server, tmp_path, "replay", *options)
        assert (
            done.status,
            "go where they came from again" in " ".join(plain(done.err).split()),
        ) == (2, True)
    assert await left(server) == [1]


async def test_what_is_larger_than_the_broker_takes_stays(
    server: NatsServer, tmp_path: Path
) -> None:
    """It takes less than it did: said, and the others go on."""
    await keep(server, [letter(checkout("b", order_id="A" * 2_000)), FOUR[1]])
    server.kill()
    smaller = await NatsServer(tmp_path / "server", "max_payload: 1500").start()
    try:
        done = await letters(smaller, tmp_path, "replay")
        assert (done.status, "1 letter: larger than the broker takes" in done.out) == (1, True)
        assert [one["order_id"] for _, one in await waiting(smaller)] == ["A3"]
        assert await left(smaller) == [1]
    finally:
        smaller.stop()


async def test_a_message_that_leaves_no_room_for_its_reason_holds_nothing_up(
    server: NatsServer, tmp_path: Path
) -> None:
    """Of the largest that a server takes, the letter keeps the beginning, and says so."""
    subject = Topology(partitions=2).subject_of(0)
    async with connected(JetStream(server.url)) as connection:
        for body in (b"x" * (1 << 20), b'{"v": 2, "x": "%s"}' % (b"y" * ((1 << 20) - 18))):
            await connection.request(subject, body)
    relay = Relay(broker=JetStream(server.url))
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(PATIENCE):
        while relay.stats().dead_letters < 2:  # noqa: ASYNC110  it comes over the network
            await asyncio.sleep(0.02)
    relay.stop()
    await running
    assert relay.stats().sessions == 1
    done = await letters(server, tmp_path, "list", "--json")
    said = [json.loads(line) for line in done.out.splitlines()]
    assert [one["status"] for one in said] == ["unreadable"] * 2
    assert all("cut: its message of 1,048,5" in one["detail"] for one in said)
