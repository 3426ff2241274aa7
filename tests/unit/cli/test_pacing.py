"""When the next event may go."""

from __future__ import annotations

import pytest

from alhena_async.cli._sending import Pacer


def departures(pacer: Pacer, stamps: list[float | None], lateness: float = 0.0) -> list[float]:
    """Return when events go if the caller waits as told, and `lateness` longer."""
    now, gone = 100.0, []
    for at in stamps:
        delay = pacer.delay(now, at)
        now += delay + (lateness if delay else 0)
        gone.append(round(now - 100, 6))
    return gone


def test_a_rate_spaces_events() -> None:
    """At 10 a second, one goes every tenth of a second, the first at once."""
    assert departures(Pacer(rate=10), [None] * 4) == [0, 0.1, 0.2, 0.3]


def test_a_late_loop_does_not_lower_the_rate() -> None:
    """A loop that wakes late makes up for it: a thousand events at 100/s take ten seconds."""
    assert departures(Pacer(rate=100), [None] * 1001, lateness=0.004)[-1] == pytest.approx(
        10, abs=0.02
    )


def test_a_pause_is_not_made_up_for() -> None:
    """After a long wait for room there is no burst beyond the rate."""
    pacer = Pacer(rate=10)
    pacer.delay(100, None)
    assert pacer.delay(200, None) == 0
    assert pacer.delay(200, None) > 0.04


def test_timestamps_are_followed() -> None:
    """At speed 60 a minute takes a second; a time that goes back does not wait."""
    assert departures(Pacer(speed=60), [1000, 1060, 1000, 1120, None]) == [0, 1, 1, 2, 2]


def test_both_bounds_hold() -> None:
    """With a rate and a speed, the slower one decides."""
    assert departures(Pacer(rate=1, speed=1), [0, 0.5, 5, 5]) == [0, 1, 5, 6]


def test_no_bound_never_waits() -> None:
    """Without a rate and a speed everything goes at once."""
    assert departures(Pacer(), [0, 5000, None]) == [0, 0, 0]
