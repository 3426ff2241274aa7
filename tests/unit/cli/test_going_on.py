"""The command that a stopped run prints to be gone on with."""

from __future__ import annotations

import pytest

from alhena_async.cli._replay import command_to_resume


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("day.jsonl --region eu", "--resume day.jsonl --region eu"),
        ("--restart day.jsonl", "--resume day.jsonl"),
        ("--resume --region eu -- s.jsonl", "--resume --region eu -- s.jsonl"),
        ("-- --resume", "--resume -- --resume"),
    ],
)
def test_the_command_to_go_on_works(arguments: str, told: str) -> None:
    """--resume stands among the options, once; what comes after -- is left as it is."""
    assert command_to_resume(["alhena", "replay", *arguments.split()]) == f"alhena replay {told}"


def test_the_command_to_go_on_is_quoted() -> None:
    """A file name with a space is one argument in a shell."""
    assert command_to_resume(["/bin/alhena", "replay", "a day.jsonl"]) == (
        "alhena replay --resume 'a day.jsonl'"
    )
