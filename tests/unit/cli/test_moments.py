"""Moments and ages on the command line."""

from datetime import UTC, datetime

import click
import pytest

from alhena_async.cli._format import Moment, ago, iso

NOW = 1_700_000_000.0
MOMENT = Moment(lambda: NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45s", NOW - 45),
        ("30m", NOW - 1_800),
        ("30 min", NOW - 1_800),
        ("2h", NOW - 7_200),
        ("1.5d", NOW - 129_600),
        ("1w", NOW - 604_800),
        ("2024-03-14", datetime(2024, 3, 14, tzinfo=UTC).timestamp()),
        ("2024-03-14T09:30", datetime(2024, 3, 14, 9, 30, tzinfo=UTC).timestamp()),
        ("2024-03-14T09:30:00+02:00", datetime(2024, 3, 14, 7, 30, tzinfo=UTC).timestamp()),
    ],
)
def test_a_moment_is_a_time_or_an_age(text: str, expected: float) -> None:
    """Times are UTC unless they say otherwise."""
    assert MOMENT.convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2x", "-2h", "h", "9" * 20 + "d", "٣h"])
def test_anything_else_is_refused(text: str) -> None:
    """With both ways to write one."""
    with pytest.raises(click.BadParameter, match=r"ISO time .* or an age"):
        MOMENT.convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-3, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3_599, "59 min"), (3_600, "1 h"),
     (172_799, "47 h"), (172_800, "2 d"), (864_000, "10 d")],
)  # fmt: skip
def test_an_age_takes_a_few_characters(seconds: float, expected: str) -> None:
    """Rounded down, in one unit."""
    assert ago(seconds) == expected


def test_a_moment_is_written_in_utc() -> None:
    """And one that no calendar has is no crash."""
    assert iso(NOW) == "2023-11-14T22:13:20Z"
    assert iso(1e30) == "?"
