"""The constructor: refuses what cannot work, and touches nothing."""

import threading
from pathlib import Path
from typing import Any

import pytest

from alhena_async import SQLiteJournal


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"synchronous": "OFF"}, ValueError),
        ({"synchronous": 2}, ValueError),
        ({"max_rows": 0}, ValueError),
        ({"max_rows": 1.5}, TypeError),
        ({"max_rows": True}, TypeError),
        ({"max_bytes": 1000}, ValueError),
        ({"max_bytes": "1 GiB"}, TypeError),
        ({"dead_letter_limit": 0}, ValueError),
        ({"dead_letter_limit": None}, TypeError),
        ({"dead_letter_age": 0}, ValueError),
        ({"dead_letter_age": float("nan")}, ValueError),
        ({"dead_letter_age": float("inf")}, ValueError),
        ({"dead_letter_age": "a day"}, TypeError),
        ({"dead_letter_bytes": 1000}, ValueError),
        ({"dead_letter_bytes": 1e9}, TypeError),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_name(settings: dict[str, Any], error: type[Exception]) -> None:
    """Where it is given."""
    (name,) = settings
    with pytest.raises(error, match=f"SQLiteJournal.{name} must be"):
        SQLiteJournal("var/alhena", **settings)


@pytest.mark.parametrize("directory", ["", b"var", None, 3, "a\0b"])
def test_a_directory_is_a_path(directory: Any) -> None:
    """And not empty."""
    with pytest.raises((TypeError, ValueError), match="directory"):
        SQLiteJournal(directory)


def test_constructing_touches_nothing(tmp_path: Path) -> None:
    """No disk, no thread: it may happen before a server forks its workers."""
    threads = threading.active_count()
    journal = SQLiteJournal(tmp_path / "j")
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads
    assert "j" in repr(journal)
