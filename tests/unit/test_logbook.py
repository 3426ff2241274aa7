"""What is worth a line in the log: trouble with beginning, reminder and end; endings, sampled."""

import asyncio
import logging
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from alhena_async import (
    AlhenaClient,
    Endpoint,
    ErrorCode,
    Outcome,
    OutcomeStatus,
)
from alhena_async._replies import Verdict, VerdictKind
from alhena_async._telemetry.logbook import Logbook, Situation
from alhena_async._telemetry.sampling import Episode, Phase
from alhena_async.testing import MemoryTransport, virtual
from tests.scripted import cart

EVENT = cart("00000000-0000-0000-0000-000000000001")
LOST = Verdict(kind=VerdictKind.TRANSIENT, detail="no connection (ClientConnectorError)")
THROTTLED = Verdict(kind=VerdictKind.THROTTLED, http_status=429, detail="secret")


def situation(
    waiting: int = 120, *, oldest_age: float = 5.0, expires_in: float = 895.0
) -> Situation:
    return Situation(waiting=waiting, oldest_age=oldest_age, expires_in=expires_in, room=9_880)


@pytest.fixture
def logbook() -> Logbook:
    return Logbook("https://eu.alhena.ai/", "var/alhena")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that a server shows, and forget them."""
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    caplog.clear()
    return lines


# --- episodes ----------------------------------------------------------------------------------


def test_an_episode_has_a_beginning_reminders_and_an_end() -> None:
    """A reminder every five minutes, and none in between."""
    episode = Episode()
    assert [episode.occurred(now) for now in (0, 1, 299, 300, 301, 600)] == [
        Phase.BEGINNING, None, None, Phase.REMINDER, None, Phase.REMINDER,
    ]  # fmt: skip
    assert episode.end(630) == 630
    assert episode.end(631) is None


def test_trouble_that_comes_and_goes_is_told_once() -> None:
    """Every second for an hour: one beginning, one end."""
    episode = Episode()
    lines = [(episode.occurred(now), episode.end(now + 0.5)) for now in range(3_600)]
    assert [line for line in lines if line != (None, None)] == [(Phase.BEGINNING, 0.5)]


def test_trouble_that_comes_back_is_told_once_it_stays() -> None:
    """After a minute; and with its true length at the end."""
    episode = Episode()
    episode.occurred(0)
    episode.end(10)
    assert [episode.occurred(now) for now in (20, 79, 80)] == [None, None, Phase.BEGINNING]
    assert episode.end(100) == 80


def test_trouble_after_a_calm_minute_is_told_at_once() -> None:
    """It is another one."""
    episode = Episode()
    episode.occurred(0)
    episode.end(10)
    assert episode.occurred(70) is Phase.BEGINNING


# --- outages -----------------------------------------------------------------------------------


def test_an_outage_is_told_from_beginning_to_end(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """With the host, what waits and where, and what is at stake next; all of it at WARNING."""
    for now in (0.0, 0.5, 1.0, 2.0):
        logbook.attempt_failed(LOST, situation(), now)
    [begins] = told(caplog)
    assert begins.startswith("alhena: https://eu.alhena.ai/ is out of reach since ")
    assert begins.endswith(
        " (no connection (ClientConnectorError)); "
        "120 events are waiting in var/alhena to be sent again"
    )
    logbook.attempt_failed(LOST, situation(9_000, oldest_age=302, expires_in=598), 302.0)
    [reminds] = told(caplog)
    assert ", still (no connection" in reminds
    assert reminds.endswith(
        "9,000 events are waiting in var/alhena, the oldest for 5 min, "
        "the first expires in 10 min; there is room for 9,880 more"
    )
    logbook.answered(situation(9_228), 601.0)
    assert told(caplog) == [
        "alhena: https://eu.alhena.ai/ answers again after 10 min; 9,228 events are being delivered"
    ]
    assert not logbook.in_trouble


def test_fewer_than_three_failures_in_a_row_are_the_networks_everyday(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if they come again and again."""
    for now in range(0, 1_000, 10):
        logbook.attempt_failed(LOST, situation(), now)
        logbook.attempt_failed(LOST, situation(), now + 1)
        logbook.answered(situation(), now + 2)
    assert told(caplog) == []


def test_an_api_that_fails_half_of_the_time_fills_no_disk(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour of five failures and an answer, again and again."""
    for now in range(3_600):
        for _ in range(5):
            logbook.attempt_failed(LOST, situation(), now)
        logbook.answered(situation(), now + 0.5)
    assert len(told(caplog)) == 2


def test_what_a_server_replied_is_not_logged(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """Its HTTP status is: the body may quote the payload."""
    bad = Verdict(kind=VerdictKind.TRANSIENT, http_status=502, detail="secret", code="secret")
    for _ in range(3):
        logbook.attempt_failed(bad, situation(), 0.0)
    [line] = told(caplog)
    assert "https://eu.alhena.ai/ is failing since" in line
    assert "(HTTP 502)" in line
    assert "secret" not in line


def test_lines_carry_fields_for_structured_logs(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """Numbers as numbers, under names of our own."""
    for _ in range(3):
        logbook.attempt_failed(LOST, situation(), 0.0)
    fields = vars(caplog.records[0])
    assert fields["alhena_waiting"] == 120
    assert fields["alhena_destination"] == "https://eu.alhena.ai/"
    assert fields["alhena_status"] is None


# --- throttling and room -----------------------------------------------------------------------


def test_throttling_is_told_from_beginning_to_end(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """It is over after a minute without it, though answers come all the time."""
    for now in range(310):
        logbook.attempt_failed(THROTTLED, situation(), now)
        logbook.answered(situation(), now + 0.5)
    begins, reminds = told(caplog)
    assert "https://eu.alhena.ai/ asks for fewer requests (HTTP 429)" in begins
    assert "still asks for fewer requests" in reminds
    logbook.answered(situation(), 368.0)
    assert told(caplog) == []
    assert logbook.in_trouble
    logbook.answered(situation(), 369.0)
    assert told(caplog) == ["alhena: https://eu.alhena.ai/ asks for less no more"]
    assert not logbook.in_trouble


def test_a_full_queue_is_told_from_beginning_to_end(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """What becomes of the events, why, and when there is room again."""
    for now in range(301):
        logbook.found_no_room("events are dropped", lambda: "too many", 20, now)
    logbook.found_room(330.0)
    begins, reminds = told(caplog)
    assert begins == (
        "alhena: events are dropped, as 20 events are waiting in var/alhena: too many"
    )
    assert reminds.startswith("alhena: events are dropped still, as ")
    logbook.found_room(360.0)
    assert told(caplog) == ["alhena: there is room again; for 6 min events are dropped"]


# --- endings -----------------------------------------------------------------------------------


def ended(
    logbook: Logbook,
    endpoint: Endpoint = Endpoint.CART,
    code: str | None = ErrorCode.MISSING_REQUIRED_FIELDS,
    *,
    status: OutcomeStatus = OutcomeStatus.REJECTED,
    http_status: int | None = 400,
    attempts: int = 1,
    now: float = 0.0,
) -> None:
    outcome = Outcome(
        status=status, event=EVENT, code=code, http_status=http_status, attempts=attempts
    )
    logbook.ended_badly(outcome, endpoint, now)


def test_each_code_status_and_endpoint_is_counted_by_itself(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood of one kind mutes no other."""
    for _ in range(105):
        ended(logbook)
    assert len(told(caplog)) == 3
    ended(logbook, code=ErrorCode.COMPANY_NOT_FOUND, http_status=404)
    ended(logbook, Endpoint.CHECKOUT)
    ended(logbook, status=OutcomeStatus.EXPIRED)
    first, second, third = told(caplog)
    assert first.startswith("alhena: a cart event ended REJECTED (COMPANY_NOT_FOUND, HTTP 404, 1 ")
    assert "check the company key" in first
    assert second.startswith("alhena: an order ended REJECTED")
    assert third.startswith("alhena: a cart event ended EXPIRED")


def test_a_kind_is_counted_from_the_start_after_a_quiet_quarter_of_an_hour(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """What begins again is news."""
    for _ in range(5):
        ended(logbook, now=0.0)
    ended(logbook, now=899.0)
    assert len(told(caplog)) == 1
    ended(logbook, now=899.0 + 900.0)
    assert len(told(caplog)) == 1


def test_a_refused_order_is_never_mute(logbook: Logbook, caplog: pytest.LogCaptureFixture) -> None:
    """Its first of each code at once, then once a minute how many; what is left at the close."""
    for second in range(150):
        ended(logbook, Endpoint.CHECKOUT, now=float(second))
    lines = told(caplog)
    assert [line.rpartition("; to see")[0].rpartition("; ")[2] for line in lines] == [
        "1 so far", "61 so far", "121 so far",
    ]  # fmt: skip
    logbook.closed(kept=0, abandoned=0)
    [last] = told(caplog)
    assert last.startswith("alhena: 29 more orders ended badly")


@pytest.mark.parametrize("how", ["answered", "attempt_failed", "ended"])
def test_orders_that_no_other_follows_are_told_too(
    how: str, logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """Many end at once, as after an outage, and then all is well: the next attempt tells."""
    calls = {
        "answered": lambda now: logbook.answered(situation(), now),
        "attempt_failed": lambda now: logbook.attempt_failed(LOST, situation(), now),
        "ended": lambda now: ended(logbook, Endpoint.CHECKOUT, now=now + 900.0),
    }
    for _ in range(50):
        ended(logbook, Endpoint.CHECKOUT, now=0.0)
    in_trouble = [logbook.in_trouble]
    calls["answered"](59.0)
    in_trouble.append(logbook.in_trouble)
    assert len(told(caplog)) == 1
    calls[how](60.0)
    assert told(caplog)[0].startswith("alhena: 49 more orders ended badly")
    calls["answered"](61.0)
    assert [*in_trouble, logbook.in_trouble] == [True, True, False]
    logbook.closed(kept=0, abandoned=0)
    assert told(caplog) == []


@pytest.mark.parametrize(
    ("attempts", "http_status", "met"),
    [(1, None, "(1 attempt)"), (3, None, "(3 attempts)"), (2, 500, ", HTTP 500, 2 attempts)")],
)
def test_what_was_met_is_said_in_plain_words(
    attempts: int,
    http_status: int | None,
    met: str,
    logbook: Logbook,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Never "HTTP None", never "1 attempts"."""
    status = OutcomeStatus.EXPIRED
    ended(logbook, code=None, status=status, http_status=http_status, attempts=attempts)
    [line] = told(caplog)
    assert met in line
    assert "None" not in line


def test_a_journals_reader_is_told_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    """Without a journal there is nothing to look at."""
    ended(Logbook("https://x/", "var/alhena"))
    ended(Logbook("https://x/"))
    with_journal, without = told(caplog)
    assert "alhena dead-letters list var/alhena" in with_journal
    assert "dead-letters" not in without


# --- through the client ------------------------------------------------------------------------


@virtual
async def test_a_servers_log_tells_of_an_outage_and_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The root logger stands at WARNING; nothing of it is the last word but that all is well."""
    transport = MemoryTransport()
    transport.fail(sent=False, times=None)
    cart()
    caplog.clear()  # of the warning, once a process, that a fingerprint is no UUID
    async with AlhenaClient("shop", transport=transport, region="eu") as client:
        for number in range(60):
            client.track_nowait(cart(product=f"p{number}"))
        receipt = client.track_nowait(cart("other"))
        await asyncio.sleep(400)
        transport.recover()
        await receipt
        lines = told(caplog)
        await client.flush()
    begins, *reminds, ends = lines
    assert "https://eu.alhena.ai/ is out of reach since" in begins
    assert len(reminds) == 1
    assert "https://eu.alhena.ai/ answers again after" in ends
    stats = client.stats()
    assert stats.failed_attempts > stats.retries - 61
    assert stats.retries == stats.requests - 61


@virtual
async def test_a_timeout_of_record_names_the_last_cause() -> None:
    """Whoever waits for the answer learns why there was none."""
    transport = MemoryTransport()
    transport.fail(sent=False, times=None)
    async with AlhenaClient("shop", transport=transport) as client:
        with pytest.raises(
            TimeoutError, match=r"stays queued after \d+ attempts; the last .*no conn"
        ):
            await client.record(cart(), timeout=5)
        await client.close(0)


@virtual
async def test_a_record_that_was_never_sent_says_so() -> None:
    """It stands behind another of its visitor."""
    transport = MemoryTransport()
    transport.hang(times=None)
    async with AlhenaClient("shop", transport=transport) as client:
        client.track_nowait(cart(product="first"))
        with pytest.raises(TimeoutError, match="stays queued, and was not sent yet"):
            await client.record(cart(), timeout=5)
        await client.close(0)


async def test_what_a_close_keeps_and_a_start_takes_over_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """How many events, and where."""
    caplog.set_level(logging.INFO, logger="alhena_async")
    transport = MemoryTransport()
    transport.hang(times=None)
    async with AlhenaClient("shop", transport=transport, journal=tmp_path) as client:
        for product in ("mug", "lamp"):
            await client.track(cart(product=product))
        await client.close(0)
    transport.recover()
    async with AlhenaClient("shop", transport=transport, journal=tmp_path) as client:
        await client.flush()
    kept = "2 events were undelivered when the client closed, and kept in"
    assert f"alhena: {kept} {tmp_path}: the next client with this journal" in caplog.text
    taken = f"taken over from earlier processes: 2 events in {tmp_path}, delivered from now on"
    assert f"alhena: {taken}" in caplog.text
    extras = [vars(record) for record in caplog.records]
    assert [extra["alhena_kept"] for extra in extras if "alhena_kept" in extra] == [2]
    transport.assert_recorded(times=2)


FORGETFUL = """
import asyncio, sys
from alhena_async import AlhenaClient, CartEvent, Visitor
from alhena_async.testing import MemoryTransport

count, journal, *how = sys.argv[1:]
visitor = Visitor(fingerprint="0" * 8 + "-0000-0000-0000-" + "0" * 12,
                  faq_fingerprint="1" * 8 + "-0000-0000-0000-" + "0" * 12)
kept = []

async def main():
    transport = MemoryTransport()
    if "away" in how:
        transport.hang(times=None)
    client = AlhenaClient("shop", transport=transport, journal=journal or None)
    await client.start()
    if "referred to" in how:
        kept.append(client)
    for number in range(int(count)):
        await client.track(CartEvent.for_change(
            visitor, before=0, after=1, product_id=number, product_name="Mug", value=1,
            currency="EUR"))
    if "away" in how:
        client._queue.flush()
        while not transport.sent:
            await asyncio.sleep(0)

asyncio.run(main())
"""


def forget(count: int, journal: Path | None = None, *how: str) -> str:
    """Return what a script without `close` writes to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(count), str(journal or ""), *how],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "failed" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("how", ["away", "referred to", "lingering"])
def test_a_forgotten_close_says_how_many_events_are_lost(how: str) -> None:
    """Once, wherever they stood: on the wire, in a client that lives on, in their linger."""
    said = forget(2, None, how)
    assert said.count("the client was never closed: 2 events were lost. Use `async with ") == 1


def test_a_forgotten_close_tells_what_the_journal_has(tmp_path: Path) -> None:
    """What is on disk is not lost."""
    said = forget(2, tmp_path / "journal", "referred to")
    assert f"0 events were lost (2 events kept in {tmp_path / 'journal'} for the next" in said


@pytest.mark.parametrize("where", [None, "journal"])
def test_a_forgotten_close_with_nothing_left_is_a_resource_warning(
    where: str | None, tmp_path: Path
) -> None:
    """As for a file."""
    assert "alhena: " not in forget(0, tmp_path / where if where else None)


def test_the_time_until_an_expiry_may_be_infinite(
    logbook: Logbook, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing waits, nothing expires."""
    for now in (0.0, 0.1, 0.2, 301.0):
        logbook.attempt_failed(LOST, situation(0, oldest_age=0.0, expires_in=inf), now)
    assert "expires" not in told(caplog)[-1]
