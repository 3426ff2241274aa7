"""The visitor script as it is shipped: small, and as readable as it is served."""

from alhena_async.browser import script_reply

SCRIPT = script_reply("GET").body


def test_the_script_is_under_2_kib() -> None:
    """Every page of the shop loads it."""
    assert len(SCRIPT) < 2_048


def test_the_script_is_plain_ascii_in_short_lines() -> None:
    """Nobody's charset matters, and a reviewer reads what the browser gets."""
    assert max(map(len, SCRIPT.decode("ascii").splitlines())) <= 100


def test_the_script_evaluates_no_text() -> None:
    """A policy without 'unsafe-eval' and 'unsafe-inline' lets it work."""
    assert not any(word in SCRIPT for word in (b"eval(", b"Function(", b"innerHTML", b"<script"))
