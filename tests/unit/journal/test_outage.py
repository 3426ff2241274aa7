"""What fails for a while: said as it begins, every five minutes, when it is over."""

import pytest

from alhena_async import JournalError
from alhena_async.journal import _outage
from alhena_async.journal._outage import Outage


class Clock:
    """A clock that only goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Uptime."""
    clock = Clock()
    monkeypatch.setattr(_outage, "uptime", clock)
    return clock


def test_it_is_said_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, however often it fails or goes well; and anew the next time."""
    outage = Outage()
    for _ in range(2):
        outage.succeeded("never said")
        for text in ("the disk is full", "the disk is fuller"):
            cause = JournalError(text)
            assert outage.failed(cause, "it waits") is cause
            assert outage.cause is cause
        outage.succeeded("it is written again")
        outage.succeeded("never said")
        assert outage.cause is None
    said = ["alhena: the disk is full; it waits", "alhena: it is written again"]
    assert [record.getMessage() for record in caplog.records] == said * 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"] * 2


def test_while_it_fails_tries_keep_their_distance(clock: Clock) -> None:
    """From the last try; what is urgent is tried at once, and what goes well always."""
    outage = Outage(pause=0.5)
    assert all(outage.may_try() for _ in range(3))
    outage.failed(JournalError("no"), "it waits")
    assert not outage.may_try()
    clock.now += 0.4
    assert not outage.may_try()
    assert outage.may_try(urgent=True)
    clock.now += 0.4
    assert not outage.may_try()
    clock.now += 0.2
    assert outage.may_try()
    outage.succeeded("it is over")
    assert all(outage.may_try() for _ in range(3))


def test_it_knows_since_when(clock: Clock) -> None:
    """A later failure of the row does not begin it anew."""
    outage = Outage()
    outage.failed(JournalError("no"), "it waits")
    clock.now += 5.0
    outage.failed(JournalError("no"), "it waits")
    assert outage.began == 100.0


def test_what_goes_on_failing_is_said_again_every_five_minutes(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """With how long it has lasted."""
    outage = Outage()
    for _ in range(11):
        outage.failed(JournalError("the disk is full"), "it waits")
        clock.now += 60
    assert [record.getMessage() for record in caplog.records] == [
        "alhena: the disk is full; it waits",
        "alhena: the disk is full, still, for 5 min; it waits",
        "alhena: the disk is full, still, for 10 min; it waits",
    ]
