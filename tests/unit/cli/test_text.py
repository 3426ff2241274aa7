"""Text from elsewhere cannot steer a terminal; numbers are told exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alhena_async.cli._format import clean, duration, money, per_second, plural


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("a\x1bcb", "ab"),
        ("tail\x1b", "tail"),
        ("line\r\nbreak\ttab", "line break tab"),
        ("nul\0bell\x07back\x08", "nulbellback"),
        ("right\u202eto left\u2066", "rightto left"),
        ("£5  Mug 日本茶 🏠", "£5  Mug 日本茶 🏠"),
        ("half \ud800", "half ?"),
    ],
)
def test_escapes_and_control_characters_are_taken_out(text: str, cleaned: str) -> None:
    """Whole escape sequences go, and whatever else is not seen; other text stays as it is."""
    assert clean(text) == cleaned


@given(st.text())
def test_nothing_unseen_is_left(text: str) -> None:
    """Whatever goes in, no control character comes out."""
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in clean(text))


def test_long_text_is_cut() -> None:
    """Text over the limit ends in an ellipsis, at the limit."""
    assert clean("x" * 50, limit=10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("0", "0.00"),
        ("5", "5.00"),
        ("9.5", "9.50"),
        ("12.500", "12.50"),
        ("16650.955", "16,650.955"),
        ("2756381.95", "2,756,381.95"),
        ("1E+3", "1,000.00"),
        ("-3.5", "-3.50"),
        ("0.000000001", "0.000000001"),
        ("43.089999999999996", "43.09"),
        ("133495.36999999999999999", "133,495.37"),
        ("-0.00000000004", "0.00"),
    ],
)
def test_money_is_told_exactly(value: str, told: str) -> None:
    """Two decimals at least, and never one too few."""
    assert money(Decimal(value)) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3600, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(seconds: float, told: str) -> None:
    """Durations read as people say them."""
    assert duration(seconds) == told


def test_rates_and_nouns() -> None:
    """No division by zero, no `1 events`."""
    assert per_second(5, 0) == "0/s"
    assert per_second(3, 2) == "1.5/s"
    assert per_second(12345, 10) == "1,234/s"
    assert (plural(1, "line"), plural(2, "line"), plural(0, "retry", "retries")) == (
        "1 line", "2 lines", "0 retries",
    )  # fmt: skip
