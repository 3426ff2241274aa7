"""The replay of dead letters holds over `kill -9`."""

from __future__ import annotations

from pathlib import Path

from tests.crash.letters import replay_and_kill


async def test_letters_are_sent_or_wait_after_kills(tmp_path: Path) -> None:
    """None is lost, no order is sent twice, and what is in doubt is said."""
    figures = await replay_and_kill(tmp_path, kills=4, seed=2)
    assert figures.kills
