"""What a journal raises, wherever it raises it: the caller that waits hears of it, nobody else."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alhena_async import JournalError, OutcomeStatus, RetryPolicy
from alhena_async._queue.envelope import Envelope, JournaledEnvelope
from alhena_async._queue.journal_gateway import JournalGateway, ending_of
from alhena_async.journal import SendMark
from alhena_async.testing import virtual
from tests.memory_journal import MemoryJournal
from tests.scripted import Script, cart, client_over, waiting_envelope

FAILURES = [ZeroDivisionError("a bug"), JournalError("no room"), TimeoutError("too slow")]


class Broken(MemoryJournal):
    """Raises the same wherever it is asked."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def __getattribute__(self, name: str) -> Any:
        if name in {"append", "settle", "holds"}:
            return self._raise
        if name in {"adopt", "page", "mark", "sync", "committed"}:
            return self._raise_later
        return super().__getattribute__(name)

    def _raise(self, *_: object, **__: object) -> Any:
        raise self._error

    async def _raise_later(self, *_: object, **__: object) -> Any:
        raise self._error


def _envelope() -> Envelope:
    waiting = waiting_envelope(cart(), 0.0)
    envelope = JournaledEnvelope(waiting.event, 0.0, waiting.lane, waiting.generation)
    envelope.row_id = 7
    return envelope


WAITING: dict[str, Callable[[JournalGateway], Awaitable[object]]] = {
    "open": lambda journal: journal.open(destination="http://127.0.0.1/"),
    "adopt": lambda journal: journal.adopt(),
    "page": lambda journal: journal.page(1, after=None, limit=10),
    "committed": lambda journal: journal.committed(_envelope()),
    "mark": lambda journal: journal.mark([_envelope()], SendMark.SENT),
    "sync": lambda journal: journal.sync(),
}


@pytest.mark.parametrize("call", WAITING)
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@virtual
async def test_who_waits_for_the_disk_hears_a_journal_error(
    call: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A foreign one is its cause, and is logged the first time that it comes."""
    gateway = JournalGateway(Broken(error), RetryPolicy())
    for _ in range(3):
        with pytest.raises(JournalError) as caught:
            await WAITING[call](gateway)
        if isinstance(error, JournalError):
            assert caught.value is error
        else:
            assert caught.value.__cause__ is error
    assert caplog.text.count("the journal failed") == (not isinstance(error, JournalError))


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@virtual
async def test_who_does_not_wait_hears_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The event goes on in memory: the disk is not relied on to have it, nor to have it not."""
    gateway = JournalGateway(Broken(error), RetryPolicy())
    envelope = _envelope()
    for _ in range(3):
        gateway.append(envelope, "shop")
        assert not gateway.is_durable(envelope)
        assert gateway.is_on_disk(envelope)  # it may be: so nothing goes out against its word
    envelope.settle(envelope.outcome_as(OutcomeStatus.RECORDED, 1.0))
    gateway.settle([ending_of(envelope, "shop")])
    gateway.drop(envelope.settled_outcome, "shop", None)
    expected = 0 if isinstance(error, JournalError) else 3
    assert caplog.text.count("the journal failed") == expected


@virtual
async def test_a_start_on_a_journal_with_a_bug_leaves_nothing_open() -> None:
    """It raises `JournalError`, with the bug as its cause."""
    journal, transport = Broken(FAILURES[0]), Script()
    client = client_over(transport, journal=journal)
    with pytest.raises(JournalError, match="failed to adopt"):
        await client.start()
    assert journal.calls == ["open", "close"]
    assert transport.opened == transport.closed == 1
    await client.close()
