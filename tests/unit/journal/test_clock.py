"""ArrivalList: right over restarts, never negative, whatever the wall clock does."""

import time
from pathlib import Path

import pytest

from alhena_async.journal._clock import ClockReading, age_of, uptime
from tests.journals import cart, committed, files_in, left_in, opened

BEGUN = ClockReading(wall=1_000_000.0, uptime=500.0, boot_id="b")


@pytest.mark.parametrize("step", [-86_400.0, 0.0, 86_400.0])
def test_on_one_boot_a_step_of_the_wall_clock_changes_no_age(step: float) -> None:
    """Accepted 10 s after the file was begun, looked at 60 s after."""
    now = ClockReading(wall=1_000_060.0 + step, uptime=560.0, boot_id="b")
    assert age_of(1_000_010.0, anchor=BEGUN, now=now) == pytest.approx(50.0)


SET = 1_790_000_000.0
"""A moment by a wall clock that somebody has set."""


@pytest.mark.parametrize("days", [2.5, 31, 400])
def test_a_resumed_snapshot_does_not_stop_the_age(days: float) -> None:
    """The uptime goes on as if nothing had happened, and only the wall clock knows better."""
    begun = ClockReading(wall=SET, uptime=500.0, boot_id="b")
    now = ClockReading(wall=SET + 60.0 + days * 86_400, uptime=560.0, boot_id="b")
    assert age_of(SET + 10.0, anchor=begun, now=now) == pytest.approx(50.0 + days * 86_400)


@pytest.mark.parametrize("days", [-400, -2.5, -1, 1, 1.9])
def test_a_wall_clock_that_was_wrong_ages_nothing(days: float) -> None:
    """Set back by whatever, or ahead by a day or a zone: the uptime tells."""
    begun = ClockReading(wall=SET, uptime=500.0, boot_id="b")
    now = ClockReading(wall=SET + 60.0 + days * 86_400, uptime=560.0, boot_id="b")
    assert age_of(SET + 10.0, anchor=begun, now=now) == pytest.approx(50.0)


def test_a_wall_clock_that_is_set_for_the_first_time_ages_nothing() -> None:
    """Without a battery it begins in 1970 with every boot."""
    begun = ClockReading(wall=30.0, uptime=30.0, boot_id="b")
    now = ClockReading(wall=SET, uptime=90.0, boot_id="b")
    assert age_of(40.0, anchor=begun, now=now) == pytest.approx(50.0)


async def test_what_comes_after_a_resumed_snapshot_is_as_young_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file is begun anew, from whose clocks ages are counted."""
    clock = time.time
    async with opened(tmp_path) as journal:
        await committed(journal, [cart(0)])
        monkeypatch.setattr(time, "time", lambda: clock() + 3 * 86_400)
        await committed(journal, [cart(1)])
    assert "resumed from a snapshot" in caplog.text
    assert len(files_in(tmp_path)) == 1
    assert [row.age < 86_400 for row in await left_in(tmp_path)] == [True, True]


async def test_what_a_dead_process_left_before_a_snapshot_is_as_old_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine stood still, the visitor did not."""
    clock = time.time
    async with opened(tmp_path) as journal:
        await committed(journal, [cart(0)])
    monkeypatch.setattr(time, "time", lambda: clock() + 3 * 86_400)
    [row] = await left_in(tmp_path)
    assert row.age >= 3 * 86_400


def test_over_a_reboot_the_wall_clock_tells() -> None:
    """Uptimes of two boots mean nothing to each other."""
    now = ClockReading(wall=1_000_110.0, uptime=3.0, boot_id="c")
    assert age_of(1_000_010.0, anchor=BEGUN, now=now) == pytest.approx(100.0)


def test_a_row_of_the_future_is_told_apart() -> None:
    """The clock was set back over a reboot: the caller decides what to make of it."""
    now = ClockReading(wall=999_000.0, uptime=3.0, boot_id="c")
    assert age_of(1_000_010.0, anchor=BEGUN, now=now) == pytest.approx(-1010.0)


def test_two_readings_of_one_moment_are_no_time_travel() -> None:
    """A hair's breadth into the future is now."""
    assert age_of(1_000_000.5, anchor=BEGUN, now=BEGUN) == 0.0
    reboot = ClockReading(wall=1_000_000.0, uptime=1.0, boot_id="c")
    assert age_of(1_000_000.5, anchor=BEGUN, now=reboot) == 0.0


def test_uptimes_that_cannot_be_of_one_boot_are_not_believed() -> None:
    """A container's own notion of uptime: then the wall clock tells."""
    now = ClockReading(wall=1_000_100.0, uptime=2.0, boot_id="b")
    assert age_of(1_000_010.0, anchor=BEGUN, now=now) == pytest.approx(90.0)


def test_without_a_boot_id_the_wall_clock_tells() -> None:
    """Not every system has one."""
    begun = ClockReading(wall=1_000_000.0, uptime=500.0, boot_id="")
    now = ClockReading(wall=1_000_100.0, uptime=999.0, boot_id="")
    assert age_of(1_000_010.0, anchor=begun, now=now) == pytest.approx(90.0)


def test_an_anchor_tells_later_moments() -> None:
    """By the clock that only goes forward."""
    anchor = ClockReading.now()
    assert anchor.wall_at(anchor.uptime + 5) == pytest.approx(anchor.wall + 5)
    assert anchor.uptime <= uptime()
