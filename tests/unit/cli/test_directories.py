"""What is no journal's directory is told which command looks into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from alhena_async.cli._commands import alhena


@pytest.mark.parametrize("command", ["status", "tail", "journal inspect", "journal deliver"])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("sqlite:///shop.db", "alhena outbox status URL"),
        ("nats://nats:4222", "alhena relay status --broker URL"),
        ("shop.db", "shop.db is a file, and a journal is a directory"),
        ("a" * 300, "cannot be read"),
    ],
)
def test_a_directory_is_asked_for_by_what_it_is(
    command: str, place: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outbox and a broker have commands of their own; nothing is made or changed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.db").touch()
    done = CliRunner().invoke(alhena, [*command.split(), place])
    assert (done.exit_code, told in " ".join(done.output.split())) == (2, True), done.output
    assert [one.name for one in tmp_path.iterdir()] == ["shop.db"]
