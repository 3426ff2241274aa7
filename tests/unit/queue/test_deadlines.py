"""ArrivalList: one list serves linger and delivery timeout of all events of a kind."""

from math import inf

import pytest

from alhena_async import Outcome, OutcomeStatus
from alhena_async._queue.deadlines import ArrivalHeap, ArrivalList
from alhena_async._queue.envelope import Envelope, EnvelopeState
from alhena_async.testing import virtual
from tests.scripted import cart, waiting_envelope


def aged(*accepted_at: float, lingers: bool = True) -> tuple[ArrivalList, list[Envelope]]:
    ages = ArrivalList(timeout=10.0, linger=1.0)
    envelopes = [waiting_envelope(cart(), at) for at in accepted_at]
    for envelope in envelopes:
        if not lingers:
            envelope.state = EnvelopeState.DUE
        ages.append(envelope)
    return ages, envelopes


def next_lingered(ages: ArrivalList, now: float) -> Envelope | None:
    return next(iter(ages.lingered(now, 1)), None)


@pytest.mark.parametrize("hurry", [False, True])
def test_no_more_linger_out_at_once_than_are_asked_for(hurry: bool) -> None:
    """The rest comes the next time, and what lingers still comes not at all."""
    ages, envelopes = aged(0.0, 0.1, 0.2)
    if hurry:
        ages.end_linger()
    ages.append(waiting_envelope(cart(), 5.0))
    now = 0.0 if hurry else 2.0
    assert ages.lingered(now, 2) == envelopes[:2]
    assert ages.lingered(now, 2) == envelopes[2:]
    assert ages.lingered(now, 2) == []


def test_lingers_end_oldest_first_each_at_its_time() -> None:
    """Not before, and each once."""
    ages, (first, second) = aged(0.0, 0.5)
    assert next_lingered(ages, 0.9) is None
    assert next_lingered(ages, 1.0) is first
    assert next_lingered(ages, 1.0) is None
    assert next_lingered(ages, 9.0) is second
    assert next_lingered(ages, 9.0) is None


def test_a_hurry_ends_every_linger_of_before_it() -> None:
    """A flush hurries what was there, and nothing that comes after."""
    ages, (first, second) = aged(0.0, 0.0)
    ages.end_linger()
    young = waiting_envelope(cart(), 0.0)
    ages.append(young)
    assert ages.next_due() == -inf
    assert next_lingered(ages, 0.0) is first
    assert next_lingered(ages, 0.0) is second
    assert next_lingered(ages, 0.0) is None
    assert ages.next_due() == 1.0


@pytest.mark.parametrize("gone", [{0}, {1}, {2}, {0, 1}, {1, 2}, {2, 1}, {0, 2}, {0, 1, 2}])
def test_a_hurry_survives_the_end_of_what_it_hurried(gone: set[int]) -> None:
    """Whichever of the hurried ones are gone, the others are due, and the next one is not."""
    ages, envelopes = aged(0.0, 0.0, 0.0)
    ages.end_linger()
    young = waiting_envelope(cart(), 0.0)
    ages.append(young)
    for number in gone:
        ages.remove(envelopes[number])
    for number in {0, 1, 2} - gone:
        assert next_lingered(ages, 0.0) is envelopes[number]
    assert next_lingered(ages, 0.0) is None
    assert next_lingered(ages, 1.0) is young


def test_what_expires_is_unlinked_oldest_first() -> None:
    """At its deadline, not a moment before."""
    ages, (first, second) = aged(0.0, 5.0)
    assert ages.next_expired(9.999) is None
    assert ages.next_expired(10.0) is first
    assert ages.next_expired(10.0) is None
    assert ages.oldest is second
    assert ages.next_expired(15.0) is second
    assert ages.oldest is None


def test_next_due_is_the_soonest_of_both() -> None:
    """Linger first, then the deadline, then never."""
    ages, [envelope] = aged(0.0)
    assert ages.next_due() == 1.0
    next_lingered(ages, 1.0)
    assert ages.next_due() == 10.0
    ages.remove(envelope)
    assert ages.next_due() == inf


def test_removal_anywhere_and_twice() -> None:
    """The rest keeps its order; one that is not in the list is left alone."""
    ages, (first, middle, last) = aged(0.0, 1.0, 2.0)
    ages.remove(middle)
    ages.remove(middle)
    assert next_lingered(ages, 9.0) is first
    assert next_lingered(ages, 9.0) is last
    ages.remove(first)
    assert ages.oldest is last


def test_the_cursor_moves_on_when_its_event_goes() -> None:
    """What was sent early is asked for no linger."""
    ages, (first, _second) = aged(0.0, 0.5)
    ages.remove(first)
    assert ages.next_due() == 1.5


def test_what_does_not_linger_only_expires() -> None:
    """No timer before its deadline."""
    ages, _ = aged(0.0, lingers=False)
    assert ages.next_due() == 10.0
    assert next_lingered(ages, 100.0) is None


def replayed(*accepted_at: float) -> tuple[ArrivalHeap, list[Envelope]]:
    ages = ArrivalHeap(timeout=10.0)
    envelopes = [waiting_envelope(cart(), at) for at in accepted_at]
    for envelope in envelopes:
        ages.add(envelope)
    return ages, envelopes


def test_replayed_ones_expire_by_age_whatever_the_order_they_come_in() -> None:
    """Each once, at its deadline."""
    ages, (first, second, third) = replayed(-3.0, -7.0, -5.0)
    assert ages.next_due() == 3.0
    assert ages.next_expired(2.9) is None
    assert ages.next_expired(9.0) is second
    assert ages.next_expired(9.0) is third
    assert ages.next_expired(9.0) is first
    assert ages.next_expired(9.0) is None
    assert ages.next_due() == inf


@virtual
async def test_replayed_ones_that_are_settled_are_passed_over() -> None:
    """Nobody takes them out."""
    ages, (first, second) = replayed(-7.0, -5.0)
    first.settle(Outcome(status=OutcomeStatus.RECORDED, event=first.event))
    assert ages.oldest is second
    assert ages.next_due() == 5.0
    assert ages.next_expired(99.0) is second
    assert ages.oldest is None


@virtual
async def test_settled_ones_are_not_kept_for_ever_behind_one_that_waits() -> None:
    """A million rows pass by an old order in backoff: memory stays with what is unsettled."""
    ages, [waiting] = replayed(-9.0)
    for number in range(10_000):
        envelope = waiting_envelope(cart(), float(number))
        ages.add(envelope)
        envelope.settle(Outcome(status=OutcomeStatus.RECORDED, event=envelope.event))
    assert len(ages._heap) < 500
    assert ages.oldest is waiting
